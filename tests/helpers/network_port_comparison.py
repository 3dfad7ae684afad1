"""The network of the port in PyTorch beside ours, with planted faults; ours is computed once."""

import functools
import types
from pathlib import Path

from diffusion_tf import get_config
from diffusion_tf.convert.pytorch_diffusion import NAMES
from diffusion_tf.crosscheck.comparison import Comparer
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.networks import load_ours, random_unet, submodules
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.torch_side import TorchSide, draw_step_noise

CONFIG = get_config(
    "cifar10", image_size=8, ch=64, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,)
)


class NetworkAlone(TorchSide):
    """What it has of the network, and nothing of what rests on it."""

    group = "network"

    def values(self, group):
        return super().values(group) if group == self.group else {}


class DropoutAlone(NetworkAlone):
    """What its masks do."""

    group = "dropout"


@functools.cache
def ours():
    """Our network, and what comes out of it."""
    unet, inputs = random_unet(CONFIG), make_inputs(CONFIG, draw_step_noise)
    return unet, inputs, Reference(CONFIG, inputs, unet, names=NAMES)


def beside_network(*changes, side=NetworkAlone):
    """The comparison with the port's network, with changes planted in its text."""
    text = (Path(__file__).parent / "torch_port.py").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    port = types.ModuleType("port")
    exec(text, port.__dict__)
    unet, inputs, reference = ours()
    network = port.Model(
        ch=64, out_ch=3, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), in_channels=3,
        resolution=8,
    )  # fmt: skip
    load_ours(network, unet, "pytorch_diffusion", "the port")
    its = Counterpart(
        name="theirs", network=network.eval(), names=NAMES,
        submodules=submodules(unet, "pytorch_diffusion"), drops=True,
    )  # fmt: skip
    return Comparer(reference, side(its, inputs), its).run()
