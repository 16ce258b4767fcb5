"""A support vector machine that learns from unlabelled rows too.

The transductive, or semi-supervised, support vector machine looks for a border
between classes that leaves a margin around all rows, labelled or not. This is
QN-S3VM, which smooths the loss and follows its gradient: Gieseke, Airola,
Pahikkala and Kramer, "Fast and simple gradient-based optimization for
semi-supervised support vector machines", Neurocomputing 123 (2014).
"""

import numbers
from typing import Any, Literal, Self
import warnings

import numpy as np
from scipy import optimize, special
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import RBFSampler
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from aae_jax import errors

UNLABELLED = -1
"""What stands for the label of a row without one, as in scikit-learn."""

_SHARPNESS = 20.0
"""Of the logistic approximation of the hinge."""

_ANNEALING = (0.0, 1e-6, 1e-4, 0.01, 0.1, 0.5, 1.0)
"""Parts of the weight of the unlabelled rows, one after the other."""

_KERNELS = 'linear', 'rbf'

_RANGES = {
  'regularization': (lambda w: 0 < w < np.inf, 'a finite number above 0'),
  'unlabelled_weight': (lambda w: 0 <= w < np.inf, 'a finite number from 0 on'),
  'n_components': (lambda n: n >= 1, 'a number of at least 1'),
  'max_iter': (lambda n: n >= 1, 'a number of at least 1'),
}
"""Which values of a parameter are allowed, and that in words."""


def loss_and_gradient(
  parameters: np.ndarray,
  labelled: np.ndarray,
  signs: np.ndarray,
  unlabelled: np.ndarray,
  regularization: float,
  unlabelled_weight: float,
) -> tuple[float, np.ndarray]:
  """The loss of QN-S3VM for each class against the others, and its gradient.

  With decisions f = rows @ parameters of a class, the sum over the classes of

    mean over the labelled of log(1 + exp(20 (1 - sign f))) / 20,
    unlabelled_weight * mean over the unlabelled of exp(-3 f^2),
    regularization * |parameters without the last|^2.

  The first is the hinge, max(0, 1 - sign f), made smooth; the second keeps the
  border away from the unlabelled rows, whichever their side.

  Args:
    parameters: [K (D + 1)], class after class, the offset last in each.
    labelled: [L, D + 1], a column of ones last; L > 0.
    signs: [K, L], 1 for rows of the class and -1 for the others.
    unlabelled: [U, D + 1], like `labelled`; U may be 0.
    regularization: at least 0.
    unlabelled_weight: at least 0.

  Returns:
    The loss, and its gradient [K (D + 1)]; with unlabelled rows 0 for the
    offsets, which they hold where they are.
  """
  of_class = parameters.reshape(len(signs), -1)
  excess = _SHARPNESS * (1 - signs * (of_class @ labelled.T))
  decision = of_class @ unlabelled.T
  nearness = np.exp(-3 * decision**2)
  share = unlabelled_weight / max(len(unlabelled), 1)
  weights = np.copy(of_class)
  weights[:, -1] = 0.0
  loss = (
    np.logaddexp(0, excess).mean(axis=1).sum() / _SHARPNESS
    + share * nearness.sum()
    + regularization * np.sum(weights**2)
  )
  gradient = (
    -(signs * special.expit(excess)) @ labelled / len(labelled)
    - 6 * share * (decision * nearness) @ unlabelled
    + 2 * regularization * weights
  )
  if len(unlabelled):
    gradient[:, -1] = 0.0
  return loss, gradient.ravel()


class TransductiveSVC(ClassifierMixin, BaseEstimator):
  """A transductive support vector machine, one class against the others.

  The mean decision of the unlabelled rows is held at the mean of the labels,
  which are 1 and -1, so that they do not all fall on one side: the labelled
  rows are taken to hold the classes in their true proportions. Without an
  unlabelled row the offset is learned, and this is a support vector machine:
  with the linear kernel that of `LinearSVC(loss='hinge')` with
  C = 1 / (2 L regularization) for L rows, but for an offset that is not
  regularized.

  Args:
    kernel: 'linear', or 'rbf' for exp(-gamma |x - x'|^2), which is approximated
      by the inner product of random Fourier features (Rahimi and Recht, 2007).
    gamma: of the kernel 'rbf', at least 0; 'scale' is 1 over the number of
      columns of X and the variance of X.
    n_components: the number of random features. In a fit they take 24 bytes
      each for every row.
    regularization: the weight of the squared norm; above 0.
    unlabelled_weight: the weight of the mean loss of the unlabelled rows,
      beside 1 for that of the labelled ones; at least 0. It is reached from 0
      in steps, each of which starts where the one before ended.
    max_iter: of L-BFGS, in each of these steps; at least 1.
    random_state: of the random features; the linear kernel draws nothing.

  Attributes:
    classes_: [K], the labels of the labelled rows, sorted.
    n_features_in_: the number of columns of X.
    features_: the fitted transformer to the features of the kernel.
    coef_: [K, D] over these features; [1, D] for two classes.
    intercept_: [K], or [1] for two classes.
    n_iter_: the largest number of iterations that a step took.
  """

  def __init__(
    self,
    *,
    kernel: Literal['linear', 'rbf'] = 'linear',
    gamma: float | Literal['scale'] = 'scale',
    n_components: int = 1000,
    regularization: float = 1e-4,
    unlabelled_weight: float = 1.0,
    max_iter: int = 500,
    random_state: int | np.random.RandomState | None = None,
  ):
    self.kernel = kernel
    self.gamma = gamma
    self.n_components = n_components
    self.regularization = regularization
    self.unlabelled_weight = unlabelled_weight
    self.max_iter = max_iter
    self.random_state = random_state

  def fit(self, X: Any, y: Any) -> Self:
    """Learns from labelled and unlabelled rows.

    Args:
      X: [N, n].
      y: [N], labels of two or more classes; -1 means unlabelled.

    Raises:
      InputError: a parameter is out of its range, or the labelled rows are of
        fewer than two classes.
      ValueError: scikit-learn refuses X, y or what is the random features'.
    """
    self.check_parameters()
    X, y = validate_data(self, X, y, dtype=np.float64)
    known = y != UNLABELLED
    self.classes_ = np.unique(y[known])
    if len(self.classes_) < 2:
      raise errors.InputError(
        f'the labels of the {known.sum()} labelled rows of {len(y)} are '
        f'{self.classes_.tolist()}; expected more than one class, and '
        f'{UNLABELLED} for unlabelled rows alone'
      )
    check_classification_targets(self.classes_)
    self.features_ = self._features().fit(X)
    features = self.features_.transform(X)
    # About this centre the mean decision is the offset.
    centre = features[known if known.all() else ~known].mean(axis=0)
    rows = np.column_stack([features - centre, np.ones(len(X))])
    labelled, unlabelled = rows[known], rows[~known]
    # The second of two classes is positive, and the first its contrary.
    positive = self.classes_[-1:] if len(self.classes_) == 2 else self.classes_
    signs = np.where(y[known] == positive[:, np.newaxis], 1.0, -1.0)
    parameters, self.n_iter_ = self._minimize(labelled, signs, unlabelled)
    self.coef_ = parameters[:, :-1]
    self.intercept_ = parameters[:, -1] - self.coef_ @ centre
    if self.n_iter_ >= self.max_iter:
      warnings.warn(
        f'L-BFGS took all of max_iter = {self.max_iter} iterations, and may '
        'not have converged',
        ConvergenceWarning,
        stacklevel=2,
      )
    return self

  def decision_function(self, X: Any) -> np.ndarray:
    """How far rows [N, n] are on the side of each class.

    Returns:
      [N, K]; for two classes [N], positive for the second.
    """
    check_is_fitted(self)
    X = validate_data(self, X, dtype=np.float64, reset=False)
    decision = self.features_.transform(X) @ self.coef_.T + self.intercept_
    return decision[:, 0] if len(self.classes_) == 2 else decision

  def predict(self, X: Any) -> np.ndarray:
    """The classes [N] of rows [N, n]."""
    decision = self.decision_function(X)
    if decision.ndim == 1:
      return self.classes_[(decision > 0).astype(int)]
    return self.classes_[decision.argmax(axis=1)]

  def check_parameters(self) -> None:
    """Refuses what a fit would refuse whatever the rows are.

    Raises:
      InputError: a parameter is out of its range.
    """
    if self.kernel not in _KERNELS:
      raise errors.unknown('kernel', str(self.kernel), _KERNELS)
    for name, (allows, expected) in _RANGES.items():
      value = getattr(self, name)
      if not (isinstance(value, numbers.Real) and allows(value)):
        raise errors.InputError(f'{name} is {value!r}; expected {expected}')

  def _features(self) -> TransformerMixin:
    """What makes the kernel an inner product, not yet fitted."""
    if self.kernel == 'linear':
      return FunctionTransformer()
    return RBFSampler(
      gamma=self.gamma,
      n_components=self.n_components,
      random_state=self.random_state,
    )

  def _minimize(
    self, labelled: np.ndarray, signs: np.ndarray, unlabelled: np.ndarray
  ) -> tuple[np.ndarray, int]:
    """The parameters [K, D + 1] of all classes, and the most iterations.

    All at once: memory is read as often for ten classes as for one. They share
    no parameter, and so have the same minima as by themselves.
    """
    parameters = np.zeros((len(signs), labelled.shape[1]))
    parameters[:, -1] = signs.mean(axis=1)
    iterations = 0
    for part in _ANNEALING if len(unlabelled) else (0.0,):
      weights = self.regularization, part * self.unlabelled_weight
      result = optimize.minimize(
        loss_and_gradient,
        parameters.ravel(),
        (labelled, signs, unlabelled, *weights),
        method='L-BFGS-B',
        jac=True,
        options={'maxcor': 50, 'maxiter': self.max_iter, 'maxfun': np.inf},
      )
      parameters = result.x.reshape(parameters.shape)
      iterations = max(iterations, result.nit)
    return parameters, iterations
