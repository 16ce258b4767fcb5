"""What a workdir holds of a run."""

from collections.abc import Mapping
import dataclasses
import functools
import json
from typing import Any

from etils import epath

from aae_jax import errors, metrics
from aae_jax.checkpoints import Checkpoints
from aae_jax.datasets import Scaling, Schema


@dataclasses.dataclass(frozen=True)
class Run:
  """A workdir, of which nothing is read before it is asked for.

  Attributes:
    workdir: local or in a bucket; it need not be there.
  """

  workdir: epath.Path

  @property
  def has_begun(self) -> bool:
    """Whether the workdir holds a run."""
    return (self.workdir / 'config.json').exists()

  @property
  def is_finished(self) -> bool:
    """Whether it holds the results of the run's last step."""
    results = self.results
    if not results:
      return False
    stopped = results.get('early_stopping', {}).get('stopped_after_epoch')
    return results['step'] == results['total_steps'] or stopped is not None

  @functools.cached_property
  def config(self) -> dict[str, Any]:
    """The configuration, as `config.json` has it.

    Raises:
      InputError: there is none, or an older version of aae_jax wrote it.
    """
    config = self._read('config.json')
    if 'objective' in config:
      raise self._older("config.json has the key 'objective'")
    return config

  @functools.cached_property
  def schema(self) -> Schema:
    """Of the data, as `model.json` has it.

    Raises:
      InputError: there is none, or an older version of aae_jax wrote it.
    """
    # The first ones said nothing of these.
    later = {'scaling': Scaling(), 'class_names': None, 'num_labelled': 0}
    content = {**later, **self._read('model.json')}
    if content.keys() != set(Schema._fields):
      raise self._older('model.json has other keys')
    content['image_shape'] = tuple(content['image_shape'])
    content['scaling'] = Scaling(*content['scaling'])
    for key in ('shares', 'class_names'):
      if content[key]:
        content[key] = tuple(content[key])
    return Schema(**content)

  @property
  def results(self) -> dict[str, Any] | None:
    """The content of `results.json`, or None before there are any."""
    path = self.workdir / 'results.json'
    return json.loads(path.read_text()) if path.exists() else None

  def rows(self, setting: Mapping[str, float]) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` that are of a setting, or of no search.

    Raises:
      InputError: `metrics.jsonl` holds something else.
    """
    return metrics.read_rows(self.workdir, setting)

  def begin(self, config: Mapping[str, Any], schema: Schema) -> None:
    """Writes what the run is of.

    Args:
      config: plain values.
      schema: of the data.

    Raises:
      InputError: the workdir cannot be written.
    """
    try:
      self.workdir.mkdir(parents=True, exist_ok=True)
      metrics.write_json(self.workdir / 'model.json', schema._asdict())
      metrics.write_json(self.workdir / 'config.json', config)
    except OSError as error:
      raise errors.InputError(
        f'cannot write to workdir {self.workdir}: {error.strerror or error}'
      ) from None

  def checkpoints(self, max_to_keep: int) -> Checkpoints:
    """Opens the checkpoints, to be closed; see `Checkpoints`."""
    return Checkpoints(self.workdir / 'checkpoints', max_to_keep)

  def restore(self, abstract_state: Any) -> Any:
    """The latest valid state; nothing is written.

    Args:
      abstract_state: pytree of jax.ShapeDtypeStruct with shardings.

    Raises:
      InputError: there is no checkpoint, none that is valid, or it is of other
        arrays.
    """
    state = None
    # To look for checkpoints where there are none would make the directory.
    if (self.workdir / 'checkpoints').exists():
      with self.checkpoints(max_to_keep=1) as checkpoints:
        state = checkpoints.restore(abstract_state)
    if state is None:
      raise errors.InputError(
        f'{self.workdir} holds no checkpoint yet; expected the workdir of a '
        'run that has saved one.'
      )
    return state

  def _read(self, name: str) -> dict[str, Any]:
    if not self.workdir.is_dir():
      raise errors.InputError(
        f'there is no folder {self.workdir}; expected the workdir of a run.'
      )
    path = self.workdir / name
    if not path.exists():
      raise errors.InputError(
        f'{self.workdir} holds no run, for it has no {name}; expected the '
        'workdir of a run.'
      )
    return json.loads(path.read_text())

  def _older(self, reason: str) -> errors.InputError:
    return errors.InputError(
      f'{self.workdir} is of an older version of aae_jax ({reason}) and cannot '
      'be gone on with or loaded; train in another workdir.'
    )
