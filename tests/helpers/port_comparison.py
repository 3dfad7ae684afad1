"""The comparison with the port in NumPy, and what is asked of one with a planted fault."""

from diffusion_tf.crosscheck.array_side import ArraySide, draw_step_noise
from diffusion_tf.crosscheck.comparison import Comparer
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.stage_table import DIFFERS

FIELDS = {"image_size": 8, "attn_resolutions": (), "warmup": 100, "ema_decay": 0.99}
LONG = {"num_diffusion_timesteps": 50}  # whose whole chain is compared
LEARNED = {"model_var_type": "learned_range", "loss_type": "hybrid"}


def beside_port(config, port):
    """The comparison with a port that deals in arrays."""
    thing = port(config)
    its = Counterpart(name="theirs", process=thing, training=thing, layout=thing.layout)
    inputs = make_inputs(config, draw_step_noise)
    return Comparer(Reference(config, inputs), ArraySide(its, inputs), its).run()


def judged(fault, comparison):
    """Whether a fault is caught, its first stage is right, its reason is named and no other."""
    first = next((row.stage for row in comparison.rows if row.verdict == DIFFERS), None)
    named = {name for finding in comparison.findings for name in finding.reasons}
    expected = {fault.reason} - {None}
    return not comparison.agrees, first == fault.stage, expected <= named, named <= expected


def check_fault(fault, comparison):
    """It is found where it is, and named if it is known."""
    assert judged(fault, comparison) == (True, True, True, True), comparison.summary()
