"""The rows of results: what is trained, how often, and what is told of it.

A row of the paper's table has the recipe that is *pure*: the paper's networks
and phases, with any optimizer, normalization, noise, schedule and sampling.
`ROW_any` is the same row with any recipe. Results are in `results/ROW.json`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of the README's table.

  Attributes:
    title: what is measured, and on what.
    metric: of the test images, a key of `measures.NUMBERS`.
    paper: what Makhzani et al. (2015) report.
    public: the best number of an AAE that was found in public code.
  """

  title: str
  metric: str
  paper: str = '-'
  public: str = '-'


@dataclasses.dataclass(frozen=True)
class Row:
  """What is trained.

  Attributes:
    config: the name of a file of `configs/`, `NAME` or `NAME:VARIANT`.
    overrides: keys of the configuration.
    draws: the seeds are 0 to `draws` - 1, unless the command says otherwise.
    lines: of the README's table; `ROW_any` stands in those of `ROW`.
  """

  config: str
  overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  draws: int = 1
  lines: Sequence[Line] = ()


@dataclasses.dataclass(frozen=True)
class Method:
  """A line of the README's table of methods: MNIST with 100 labels.

  Attributes:
    title: what it is called there.
    row: of `ROWS`, what is trained.
    paper: the error that the results table has, in %.
  """

  title: str
  row: str
  paper: str


METHODS = (
  Method('NN, the labels alone', 'mnist_100_nn', '25.80'),
  Method('VAE (M1) + TSVM', 'mnist_100_m1_tsvm', '11.82 ± 0.25'),
  Method('VAE (M2)', 'mnist_100_m2', '11.97 ± 1.71'),
  Method('VAE (M1 + M2)', 'mnist_100_m1_m2', '3.33 ± 0.14'),
  Method('VAT', 'mnist_100_vat', '2.33'),
  Method('VAT, with additions', 'mnist_100_vat_any', '-'),
  Method('CatGAN', 'mnist_100_catgan', '1.91 ± 0.10'),
  Method('Ladder', 'mnist_100_ladder', '1.06 ± 0.37'),
  Method('ADGM', 'mnist_100_adgm', '0.96 ± 0.02'),
  Method('SDGM', 'mnist_100_sdgm', '1.32 ± 0.07 (its own paper)'),
  Method('AAE', 'mnist_100', '1.90 ± 0.10'),
  Method('AAE, with additions', 'mnist_100_any', '-'),
)
"""In the order of the paper's table."""

_VALIDATION = {'dataset.num_validation': 5000}
"""Of rows whose number is chosen on validation images by its definition."""

_PART_OF_SVHN = {'dataset.allow_unverified': True}
"""Takes the files of `--config.dataset.manual_dir`, or else those of
`$AAE_DATA_DIR/svhn_cropped`, whatever they are: no SVHN numbers."""

_CONVOLUTIONAL = (
  '[1.68 ± 0.21](https://github.com/taranO/IB-semi-supervised-classification), '
  'convolutional, its lowest test error over the epochs'
)


def _classification(
  title: str, paper: str, public: str = '-'
) -> Sequence[Line]:
  title = f'{title}: classification error'
  return (Line(title, 'classification_error', paper, public),)


def _clustering(title: str, paper: str) -> Sequence[Line]:
  return (Line(f'{title}: clustering error', 'clustering_error', paper),)


_ABLATION = {'epochs': 20}
"""`mnist_100_any` in fewer epochs, and rows without one of its parts."""

ROWS = {
  'mnist_100': Row(
    'mnist_semi_supervised',
    draws=5,
    lines=_classification('MNIST, 100 labels', '1.90 ± 0.10', _CONVOLUTIONAL),
  ),
  'mnist_100_any': Row('mnist_semi_supervised:any', draws=10),
  'mnist_1000': Row(
    'mnist_semi_supervised',
    {'num_labels': 1000},
    lines=_classification('MNIST, 1000 labels', '1.60 ± 0.08'),
  ),
  'mnist_1000_any': Row(
    'mnist_semi_supervised:any', {'num_labels': 1000}, draws=3
  ),
  'mnist_all': Row(
    'mnist_semi_supervised',
    {'num_labels': -1},
    lines=_classification('MNIST, all labels', '0.85 ± 0.02'),
  ),
  'mnist_all_any': Row(
    'mnist_semi_supervised:any', {'num_labels': -1}, draws=3
  ),
  'clustering_30': Row(
    'mnist_clustering', lines=_clustering('MNIST, 30 clusters', '4.10 ± 1.13')
  ),
  'clustering_30_any': Row('mnist_clustering:any', draws=3),
  'clustering_16': Row(
    'mnist_clustering',
    {'num_clusters': 16},
    lines=_clustering('MNIST, 16 clusters', '9.55 ± 2.05'),
  ),
  'clustering_16_any': Row(
    'mnist_clustering:any', {'num_clusters': 16}, draws=3
  ),
  '2d_100': Row(
    'mnist_dimensionality_reduction',
    lines=_classification('MNIST, 2-D, 100 labels', '6.08'),
  ),
  '2d_100_any': Row('mnist_dimensionality_reduction:any', draws=3),
  '2d_1000': Row(
    'mnist_dimensionality_reduction',
    {'num_labels': 1000},
    lines=_classification('MNIST, 2-D, 1000 labels', '4.20'),
  ),
  '2d_1000_any': Row(
    'mnist_dimensionality_reduction:any', {'num_labels': 1000}, draws=3
  ),
  '2d_unsupervised': Row(
    'mnist_dimensionality_reduction_clustering',
    lines=_clustering('MNIST, 2-D, 20 clusters', '13.95'),
  ),
  '2d_unsupervised_any': Row(
    'mnist_dimensionality_reduction_clustering:any', draws=3
  ),
  '10d_100': Row(
    'mnist_dimensionality_reduction',
    {'latent_size': 10},
    lines=_classification('MNIST, 10-D, 100 labels', '3.90'),
  ),
  '10d_100_any': Row(
    'mnist_dimensionality_reduction:any', {'latent_size': 10}, draws=3
  ),
  'parzen': Row(
    'mnist_aae',
    {'latent_size': 8, 'prior.std': 5.0, **_VALIDATION},
    lines=[
      Line(
        'MNIST, samples: Parzen log-likelihood, which rewards blur',
        'parzen_log_likelihood',
        '340 ± 2',
      )
    ],
  ),
  'supervised': Row(
    'mnist_supervised',
    {'discriminator_z.sees_label': False},
    lines=[
      Line(f'MNIST, 15-D style beside the label: {what}', metric, 'a picture')
      for what, metric in (
        ('linear probe of the label', 'linear_probe_error'),
        ('MLP probe of the label', 'mlp_probe_error'),
        ('reconstruction error', 'reconstruction_error'),
        ('energy distance', 'energy_distance'),
      )
    ],
  ),
  'supervised_any': Row('mnist_supervised'),
  'gan': Row(
    'mnist_gan',
    _VALIDATION,
    lines=[
      Line(
        'MNIST, samples of a GAN: Parzen log-likelihood',
        'parzen_log_likelihood',
        '225 ± 2 (Goodfellow et al., 2014)',
      )
    ],
  ),
  'svhn_part': Row(
    'svhn_semi_supervised',
    _PART_OF_SVHN,
    draws=5,
    lines=_classification(
      'a part of SVHN (4,434 training images), 1000 labels', 'not comparable'
    ),
  ),
  'svhn_part_any': Row('svhn_semi_supervised:any', _PART_OF_SVHN, draws=5),
  'svhn_part_classifier': Row(
    'svhn_classifier',
    _PART_OF_SVHN,
    draws=5,
    lines=_classification(
      'the same draws, the encoder on the labels alone', 'not comparable'
    ),
  ),
  'svhn_part_classifier_any': Row(
    'svhn_classifier:any', _PART_OF_SVHN, draws=5
  ),
  'svhn_part_vat': Row(
    'svhn_vat',
    _PART_OF_SVHN,
    draws=5,
    lines=_classification('the same draws, VAT', 'not comparable'),
  ),
  'svhn_part_supervised': Row('svhn_supervised', _PART_OF_SVHN),
  'mnist_100_nn': Row('mnist_classifier', draws=5),
  'mnist_100_m1_tsvm': Row('mnist_m1_tsvm', draws=3),
  'mnist_100_vat': Row('mnist_vat', draws=3),
  'mnist_100_vat_any': Row('mnist_vat:any', draws=3),
  'mnist_100_ladder': Row('mnist_ladder', draws=3),
  'mnist_100_m2': Row('mnist_m2'),
  'mnist_100_m1_m2': Row('mnist_m1_m2'),
  'mnist_100_catgan': Row('mnist_catgan'),
  'mnist_100_sdgm': Row('mnist_sdgm'),
  'mnist_100_adgm': Row('mnist_adgm'),
  'ablation': Row('mnist_semi_supervised:any', _ABLATION, draws=3),
  'ablation_consistency': Row(
    'mnist_semi_supervised:any',
    {
      **_ABLATION,
      'additions': ('marginal_entropy',),
      'consistency.begin': 0.0,
    },
    draws=3,
  ),
  'ablation_marginal_entropy': Row(
    'mnist_semi_supervised:any',
    {
      **_ABLATION,
      'additions': ('consistency',),
      'marginal_entropy.marginal_weight': 1.0,
    },
    draws=3,
  ),
  'ablation_augmentation': Row(
    'mnist_semi_supervised:any',
    {
      **_ABLATION,
      'encoder.augmentation.shift': 0.0,
      'encoder.augmentation.turn': 0.0,
      'encoder.augmentation.scale': 0.0,
    },
    draws=3,
  ),
  'ablation_autoencoder': Row('mnist_vat:any', _ABLATION, draws=3),
  'digits_100': Row('digits_semi_supervised', draws=10),
  'mnist_aae_gaussian': Row('mnist_aae'),
  'mnist_aae_gaussian_mixture': Row(
    'mnist_aae', {'prior.name': 'gaussian_mixture'}
  ),
  'mnist_vae_gaussian': Row('mnist_vae'),
  'mnist_vae_gaussian_mixture': Row(
    'mnist_vae', {'prior.name': 'gaussian_mixture'}
  ),
  'mnist_autoencoder': Row('mnist_autoencoder'),
  'mnist_autoencoder_8d': Row('mnist_autoencoder', {'latent_size': 8}),
  'mnist_label_regularized': Row('mnist_label_regularized'),
}
"""By name; those with lines are in the README's table, in this order."""
