"""The kwargs.json of the original's scripts, written out by hand."""

CIFAR = """{
  "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001,
  "bucket_name_prefix": "bucket", "dataset": "cifar10", "dropout": 0.1, "exp_name": "first",
  "grad_clip": 1.0, "keep_checkpoint_max": 2, "log_dir": "gs://bucket-us-central1/logs",
  "loss_type": "mse", "lr": 0.0002, "model_mean_type": "eps", "model_name": "unet2d16b2",
  "model_var_type": "fixedlarge", "num_diffusion_timesteps": 1000, "optimizer": "adam",
  "randflip": 1, "region": "us-central1",
  "tfds_data_dir": "gs://bucket-us-central1/tensorflow_datasets", "total_bs": 128,
  "tpu_name": "tpu", "warmup": 5000
}"""
CELEBAHQ = """{
  "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001, "block_size": 1,
  "bucket_name_prefix": "bucket", "dataset": "celebahq256", "dropout": 0.0, "exp_name": "first",
  "grad_clip": 1.0, "log_dir": "gs://bucket-us-central1/logs", "loss_type": "noisepred",
  "lr": 2e-05, "model_name": "unet2d16b2c112244", "num_diffusion_timesteps": 1000,
  "optimizer": "adam", "randflip": 1, "region": "us-central1",
  "tfds_data_dir": "gs://bucket-us-central1/tensorflow_datasets", "total_bs": 64,
  "tpu_name": "tpu", "warmup": 5000
}"""
