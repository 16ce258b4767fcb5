"""The step of a semi-supervised AAE in PyTorch."""

from collections.abc import Iterator, Sequence
import contextlib
import os
from typing import Any

import ml_collections
import numpy as np
import torch

from aae_jax import experiments
from aae_jax.datasets import Split


class Peer:
  """The same algorithm in PyTorch, on the CPU.

  Networks, batches, noise, losses, optimizers, schedule, averages and metrics
  are those of the configuration. The data lie in memory as in ours, Adam is the
  fused one, and no gradient is computed that a phase does not use. The initial
  weights are PyTorch's own, which makes no difference to the time.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    built: experiments.Experiment,
    is_compiled: bool = False,
  ):
    """Puts the data in place; builds networks and optimizers.

    Args:
      config: of the system.
      built: what is trained, and on what.
      is_compiled: whether `torch.compile` compiles the loss of each phase.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    self._config, self._feed = config, built.feed
    images = built.dataset.train.image
    self._image = torch.from_numpy(images.reshape(len(images), -1).copy())
    self._label = torch.from_numpy(built.dataset.train.label.astype(np.int64))
    self._labelled = torch.from_numpy(built.labelled[0].astype(np.int64))
    self._build_networks(built.dataset.num_classes)
    self._build_optimizers(built.total_steps)
    norms = self._encoder['norms']
    self._newest = [
      *(x for net in self._networks for x in net.parameters()),
      *(x for norm in norms for x in (norm.running_mean, norm.running_var)),
    ]
    self._averages = [x.detach().clone() for x in self._newest]
    self._totals, self._step = {}, 0
    made = torch.compile if is_compiled else lambda loss_fn: loss_fn
    self._losses = {
      'reconstruction': made(self._reconstruct),
      'discriminator': made(self._discriminate),
      'generator': made(self._generate),
      'classification': made(self._classify),
    }

  def __call__(self, num_steps: int) -> None:
    """Makes so many steps; nothing is left running."""
    for _ in range(num_steps):
      self._make_step()

  def error(self, split: Split) -> float:
    """The classification error of the averages of the weights, in percent."""
    image = torch.from_numpy(split.image.reshape(split.num_images, -1))
    with torch.no_grad(), self._averaged():
      heads = self._encode(image.float().div_(255), ('y',), train=False)
      predicted = heads['y'].argmax(dim=1)
    return 100 * float((predicted.numpy() != split.label).mean())

  @contextlib.contextmanager
  def _averaged(self) -> Iterator[None]:
    """The averages stand where the newest weights do."""
    self._exchange()
    yield
    self._exchange()

  def _exchange(self) -> None:
    for newest, average in zip(self._newest, self._averages, strict=True):
      newest.data, average.data = average.data, newest.data

  def _build_networks(self, num_classes: int) -> None:
    config, pixels = self._config, self._image.shape[1]
    hidden = config.encoder.hidden
    linear, modules = torch.nn.Linear, torch.nn.ModuleList
    sizes = {'y': num_classes, 'z': config.latent_size}
    self._encoder = torch.nn.ModuleDict(
      {
        'dense': modules(
          linear(n, m, bias=False)
          for n, m in zip((pixels, *hidden), hidden, strict=False)
        ),
        'norms': modules(
          torch.nn.BatchNorm1d(m, momentum=0.01) for m in hidden
        ),
        'heads': torch.nn.ModuleDict(
          {part: linear(hidden[-1], size) for part, size in sizes.items()}
        ),
      }
    )
    self._decoder = torch.nn.Sequential(
      *_perceptron(sum(sizes.values()), config.decoder.hidden, pixels),
      torch.nn.Sigmoid(),
    )
    self._discriminators = torch.nn.ModuleDict(
      {
        part: torch.nn.Sequential(
          *_perceptron(size, config.discriminator.hidden, 1)
        )
        for part, size in sizes.items()
      }
    )
    self._networks = (self._encoder, self._decoder, self._discriminators)

  def _build_optimizers(self, total_steps: int) -> None:
    encoder, decoder, discriminators = self._networks
    self._trained = {
      'reconstruction': (encoder, decoder),
      'discriminator': (discriminators,),
      'generator': (encoder,),
      'classification': (encoder,),
    }
    first = int(0.5 * total_steps)
    decay = lambda step: min(1.0, (total_steps - step) / (total_steps - first))
    self._optimizers, self._schedules = {}, {}
    for phase, trained in self._trained.items():
      options = self._config.optimizer[phase]
      optimizer = torch.optim.Adam(
        [x for net in trained for x in net.parameters()],
        options.learning_rate,
        (options.b1 or 0.9, 0.999),
        fused=True,
      )
      self._optimizers[phase] = optimizer
      self._schedules[phase] = torch.optim.lr_scheduler.LambdaLR(
        optimizer, decay
      )

  def _make_step(self) -> None:
    image, labelled_image, label = self._next_batch()
    self._run_phase('reconstruction', image)
    self._run_phase('discriminator', image)
    self._run_phase('generator', image)
    self._run_phase('classification', image, labelled_image, label)
    decay = min(self._config.ema_decay, (2 + self._step) / (11 + self._step))
    with torch.no_grad():
      torch._foreach_lerp_(self._averages, self._newest, 1 - decay)
    self._step += 1

  def _next_batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    step, feed = self._step % self._feed.steps_per_epoch, self._feed
    if not step:
      self._order = torch.randperm(feed.num_examples)
      self._labelled = self._labelled[torch.randperm(len(self._labelled))]
    index = self._order[step * feed.batch_size :][: feed.batch_size]
    size = feed.labelled_batch_size
    position = (step * size + torch.arange(size)) % len(self._labelled)
    labelled = self._labelled[position]
    scale = lambda image: image.float().div_(255)
    return (
      scale(self._image[index]),
      scale(self._image[labelled]),
      self._label[labelled],
    )

  def _run_phase(self, phase: str, *batch: torch.Tensor) -> None:
    for network in self._networks:
      network.requires_grad_(network in self._trained[phase])
    loss, metrics = self._losses[phase](*batch)
    loss.backward()
    self._optimizers[phase].step()
    self._optimizers[phase].zero_grad(set_to_none=True)
    self._schedules[phase].step()
    for name, value in {'loss': loss.detach(), **metrics}.items():
      total = self._totals.setdefault(f'{phase}/{name}', torch.zeros(()))
      total.add_(value)

  def _encode(
    self,
    image: torch.Tensor,
    parts: Sequence[str] = ('y', 'z'),
    update_stats: bool = False,
    train: bool = True,
  ) -> dict[str, torch.Tensor]:
    options = self._config.encoder
    x = _with_noise(image, train * options.input_noise)
    for dense, norm in zip(
      self._encoder['dense'], self._encoder['norms'], strict=True
    ):
      stats = (norm.running_mean, norm.running_var)
      x = torch.nn.functional.batch_norm(
        dense(x),
        *(stats if update_stats or not train else (None, None)),
        norm.weight,
        norm.bias,
        training=train,
        momentum=norm.momentum,
      )
      x = _with_noise(x, train * options.noise).relu_()
    return {part: self._encoder['heads'][part](x) for part in parts}

  def _codes(
    self, image: torch.Tensor, **options: Any
  ) -> dict[str, torch.Tensor]:
    heads = self._encode(image, **options)
    return {'y': heads['y'].softmax(dim=1), 'z': heads['z']}

  def _reconstruct(
    self, image: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    codes = self._codes(image, update_stats=True)
    output = self._decoder(torch.cat([codes['y'], codes['z']], dim=1))
    return 0.5 * (output - image).square().sum(dim=1).mean(), {}

  def _discriminate(
    self, image: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    with torch.no_grad():
      codes = self._codes(image)
    size, num_classes = codes['y'].shape
    if self._config.prior_y.balanced:
      label = torch.arange(size) % num_classes
    else:
      label = torch.randint(num_classes, (size,))
    prior = {
      'y': torch.nn.functional.one_hot(label, num_classes).float(),
      'z': torch.randn_like(codes['z']),
    }
    loss, metrics = 0.0, {}
    for part, discriminator in self._discriminators.items():
      positive = discriminator(prior[part])
      negative = discriminator(codes[part])
      loss += _cross_entropy(positive, 1.0) + _cross_entropy(negative, 0.0)
      metrics[f'{part}_prior_accuracy'] = (positive > 0).float().mean()
      metrics[f'{part}_posterior_accuracy'] = (negative < 0).float().mean()
    return loss, metrics

  def _generate(
    self, image: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    codes, loss, metrics = self._codes(image), 0.0, {}
    weights = self._config.weights.generator
    for part, discriminator in self._discriminators.items():
      part_loss = _cross_entropy(discriminator(codes[part]), 1.0)
      weight = weights[f'{part}_weight']
      loss += part_loss if weight is None else weight * part_loss
      metrics[f'{part}_loss'] = part_loss.detach()
    return loss, metrics

  def _classify(
    self, image: torch.Tensor, labelled_image: torch.Tensor, label: torch.Tensor
  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    both = torch.cat([labelled_image, image])
    logit = self._encode(both, parts=('y',))['y'][: len(label)]
    error = (logit.argmax(dim=1) != label).float().mean()
    loss = torch.nn.functional.cross_entropy(logit, label)
    return loss, {'error': 100 * error}


def _perceptron(
  size: int, hidden: Sequence[int], outputs: int
) -> Iterator[torch.nn.Module]:
  for width in hidden:
    yield torch.nn.Linear(size, width)
    yield torch.nn.ReLU(inplace=True)
    size = width
  yield torch.nn.Linear(size, outputs)


def _with_noise(x: torch.Tensor, std: float) -> torch.Tensor:
  return torch.add(x, torch.randn_like(x), alpha=std) if std else x


def _cross_entropy(logit: torch.Tensor, target: float) -> torch.Tensor:
  return torch.nn.functional.binary_cross_entropy_with_logits(
    logit, torch.full_like(logit, target)
  )
