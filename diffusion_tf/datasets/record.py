"""What a workdir keeps of the data that its run learns from: `data.json`.

Which data they are, so that a run goes on with no others; the names of classes; and what vectors
were brought to a standard scale by, which samples are brought back with.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusion_tf.config import Config
from diffusion_tf.datasets.base import Dataset
from diffusion_tf.datasets.scaling import Scaling
from diffusion_tf.utils.files import write_json
from diffusion_tf.utils.json_files import read_json_object

NAME = "data.json"
_SHOWN = 12  # digits of an identity in a sentence


@dataclass(frozen=True, kw_only=True, eq=False)
class DataRecord:
    """The data of a run; without anything, where nothing is known of them.

    Attributes:
        data_dir: where they were when the run began, for people alone.
        num_examples: how many the run learns from.
        identity: tells these data from others, see `Dataset.identity`.
        class_names: the names of labels 0, 1, ...; None where they have none.
        scaling: of vectors that were standardized.
    """

    data_dir: str = ""
    num_examples: int = 0
    identity: str = ""
    class_names: tuple[str, ...] | None = None
    scaling: Scaling | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> "DataRecord":
        """What is to be kept of a data set."""
        return cls(
            data_dir=dataset.origin,
            num_examples=len(dataset),
            identity=dataset.identity(),
            class_names=dataset.class_names,
            scaling=dataset.scaling,
        )

    @classmethod
    def load(cls, workdir: str) -> "DataRecord | None":
        """What a workdir keeps; None if it keeps nothing, as those of earlier versions.

        Raises:
            ValueError: the file is damaged.
            OSError: it cannot be read.
        """
        path = os.path.join(workdir, NAME)
        if not os.path.lexists(path):
            return None
        try:
            return cls(**_parsed(read_json_object(path)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} does not say what the run's data are"
                f" ({str(error).rstrip('.')}); restore it."
            ) from None

    def save(self, workdir: str) -> None:
        """Writes it into a workdir."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["scaling"] = self.scaling and self.scaling.to_json()
        write_json(
            os.path.join(workdir, NAME),
            {name: value for name, value in values.items() if value is not None},
            sort_keys=False,
        )

    def check_same(self, other: "DataRecord", workdir: str) -> None:
        """Makes sure that a run goes on with the data that it began with.

        Args:
            other: of the data that are there now.
            workdir: of the run, whose record this is.

        Raises:
            ValueError: they are other data.
        """
        if self.identity != other.identity:
            raise ValueError(
                f"{workdir} holds a run on other data: {self._shown()} there, {other._shown()}"
                " here; name its own data with --data_dir, or begin another run on these with"
                f" --warm_start={workdir} and another --workdir."
            )

    def _shown(self) -> str:
        where = f" of {self.data_dir}" if self.data_dir else ""
        return f"{self.num_examples} examples{where} (fingerprint {self.identity[:_SHOWN]})"


def load_record(workdir: str, config: Config) -> DataRecord:
    """What a workdir keeps, with all that samples of its run need.

    Returns:
        An empty record if it keeps nothing, as the workdirs of earlier versions and the original's.

    Raises:
        ValueError: it is damaged, or of another run; or lost, of a run on standardized vectors.
        OSError: it cannot be read.
    """
    record, path = DataRecord.load(workdir), os.path.join(workdir, NAME)
    if config.standardize and record is None:
        raise ValueError(
            f"{path} is missing, which holds the mean and the scale of the run's vectors; restore"
            " it."
        )
    wrong = record and _misfit(record, config)
    if wrong:
        raise ValueError(f"{path} does not belong to the run ({wrong}); restore it.")
    return record or DataRecord()


def _misfit(record: DataRecord, config: Config) -> str:
    """What in a record cannot be of a run, in a few words; "" if nothing."""
    # The data that the package brings with it are not standardized.
    is_own = config.dataset in ("vectors", "embeddings") and record.data_dir
    if (config.standardize and is_own and not record.scaling) or (
        record.scaling and not config.standardize
    ):
        is_there = "a" if record.scaling else "no"
        return f"it has {is_there} scaling, and standardize is {config.standardize:g}"
    if record.scaling and len(record.scaling.mean) != config.data_dim:
        return f"it scales vectors of {len(record.scaling.mean)}, and they have {config.data_dim}"
    if record.class_names and 0 < config.num_classes < len(record.class_names):
        return f"it names {len(record.class_names)} classes of {config.num_classes}"
    return ""


def _parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record; ValueError in a few words."""
    kinds = {"data_dir": str, "num_examples": int, "identity": str}
    for name, kind in kinds.items():
        if type(values.get(name)) is not kind:
            raise ValueError(f"{name} is {values.get(name)!r}")
    fields = {name: values[name] for name in kinds}
    names = values.get("class_names")
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("class_names is not a list of texts")
        if len(set(names)) < len(names):
            raise ValueError("class_names has a name twice")
        fields["class_names"] = tuple(names)
    if values.get("scaling") is not None:
        fields["scaling"] = Scaling.from_json(values["scaling"])
    return fields
