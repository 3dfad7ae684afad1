"""A checkpoint without a training run."""

from diffusion_tf.training.checkpoints import Checkpoints, claim_workdir


def checkpoints_of(workdir, trainer, keep=2, read_only=False):
    return Checkpoints(
        str(workdir),
        trainer.parts,
        trainer.step,
        keep=keep,
        read_only=read_only,
    )


def save_checkpoint(workdir, trainer, keep=2, read_only=False):
    claim_workdir(str(workdir), trainer.config)
    checkpoints = checkpoints_of(workdir, trainer, keep, read_only)
    checkpoints.save()
    return checkpoints
