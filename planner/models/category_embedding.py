"""Which categories are alike, as numbers: a model that behaves as another does teaches about it.

Notation
--------
L, m        values of one category axis; places of the grid that are looked at
M           (L, m) what a surrogate believes of each category at each place, less the mean over categories
V           (m, k) leading right singular vectors of M, scaled so that M V has a mean square of 1: the directions
M V         (L, k) the coordinates

The coordinates of a category are those in which categories are believed to differ most. As numeric columns of a second
surrogate they let it carry over from one category to its neighbours, which exchangeable categories cannot.

Source: latent coordinates of qualitative factors, Zhang, Tao, Chen & Apley, Technometrics 62 (2020); there they are
hyper-parameters, k for each category, here they are read off a first belief at the price of one small decomposition.
"""

from __future__ import annotations

import numpy as np

from planner.models.gp import GaussianProcess
from planner.space.types import BoolArray, Features, FloatArray, IntArray

__all__ = ["CategoryEmbedding"]

# A coordinate for each so many categories: with fewer, every category is a dimension of its own.
_CATEGORIES_EACH = 8
_MOST_COORDINATES = 3
_PLACES = 80
_LEAST_STRENGTH = 1e-9


class CategoryEmbedding:
    """Coordinates of the categories of every axis that has enough of them, at most `most` an axis. Built once for the
    features of a grid."""

    def __init__(self, features: Features, most: int = _MOST_COORDINATES) -> None:
        self._features = features
        self._places = [
            (axis, _places(features, axis), width)
            for axis, levels in enumerate(features.levels)
            if (width := min(levels // _CATEGORIES_EACH, most))
        ]

    @property
    def width(self) -> int:
        """How many columns there are; none where no axis has enough categories."""
        return sum(width for *_, width in self._places)

    def fit(self, gp: GaussianProcess) -> CategoryEmbedding:
        """Learn the directions in which the fitted `gp` believes categories to differ most."""
        self._directions = [
            _directions(self._predicted(gp, axis, places), width) for axis, places, width in self._places]
        return self

    def columns(self, gp: GaussianProcess) -> FloatArray:
        """The coordinates along these directions at every grid point, (N, width), from what `gp` believes."""
        found = [np.empty((len(self._features), 0))]
        for (axis, places, _), directions in zip(self._places, self._directions, strict=True):
            coordinates = self._predicted(gp, axis, places) @ directions
            found.append(coordinates[self._features.category[:, axis]])
        return np.column_stack(found)

    def _predicted(self, gp: GaussianProcess, axis: int, places: Features) -> FloatArray:
        """M."""
        believed = gp.predict(places)[0].reshape(self._features.levels[axis], -1)
        apart: FloatArray = believed - believed.mean(axis=0)
        return apart


def _places(features: Features, axis: int) -> Features:
    """Each category of `axis`, with its own descriptors, at the same places: (L · m) rows, a category's together."""
    codes, levels = features.category[:, axis], features.levels[axis]
    own = _descriptors(features.numeric, codes)
    free, others = np.flatnonzero(~own), np.arange(features.category.shape[1]) != axis
    _, first = np.unique(
        np.column_stack([features.numeric[:, free], features.category[:, others]]), axis=0, return_index=True)
    rows = np.random.default_rng(0).permutation(np.sort(first))[:_PLACES]
    numeric = np.tile(features.numeric[rows], (levels, 1))
    category = np.tile(features.category[rows], (levels, 1))
    category[:, axis] = np.repeat(np.arange(levels), len(rows))
    # A grid may leave a category out; nobody asks for its coordinates.
    one_of = np.zeros(levels, dtype=np.int64)
    one_of[codes] = np.arange(len(codes))
    numeric[:, own] = features.numeric[one_of[category[:, axis]]][:, own]
    return Features(numeric, category, features.levels)


def _descriptors(numeric: FloatArray, codes: IntArray) -> BoolArray:
    """Which columns are the same throughout each category, (d,)."""
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    steps = np.abs(np.diff(numeric[order], axis=0))[same]
    same_throughout: BoolArray = steps.max(axis=0, initial=0.0) < 1e-9
    return same_throughout


def _directions(apart: FloatArray, width: int) -> FloatArray:
    """V, from M."""
    _, strength, right = np.linalg.svd(apart, full_matrices=False)
    right, strength = right[:width], strength[:width]
    # A sign that does not flip from one look to the next: the second surrogate starts where it stopped.
    towards = np.where(right.sum(axis=1) < 0, -1.0, 1.0)
    # Directions in which nothing differs are arbitrary, and left out.
    observed = strength > _LEAST_STRENGTH
    scale = np.where(observed, len(apart) ** 0.5 / np.where(observed, strength, 1.0), 0.0)
    directions: FloatArray = (right * (towards * scale)[:, None]).T
    return directions
