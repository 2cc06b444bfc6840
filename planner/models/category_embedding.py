"""Coordinates of categories, such that categories that behave alike are close to each other.

Notation
--------
N           grid points
L, m        values of one category axis; places of the grid at which they are compared
M           (L, m) predictions of a Gaussian process for each category at each place, less the mean over categories
V           (m, k) leading right singular vectors of M, scaled so that M V has a mean square of 1: the directions
M V         (L, k) the coordinates

The coordinates are those in which the predictions of categories differ most. As numeric columns of a second Gaussian
process they carry over what is known of a category to its neighbours, which exchangeable categories cannot.

Source: latent coordinates of qualitative factors, Zhang, Tao, Chen & Apley, Technometrics 62 (2020); there they are
hyper-parameters, k for each category; here they come from a first posterior by one small decomposition.
"""

from __future__ import annotations

import numpy as np

from planner.models import settings
from planner.models.gp import GaussianProcess
from planner.space.types import BoolArray, Features, FloatArray, IntArray

__all__ = ["CategoryEmbedding"]


class CategoryEmbedding:
    """Coordinates of the categories of every axis that has enough of them, at most `most` for each axis.

    Built once for the features of a grid.
    """

    def __init__(self, features: Features, most: int = settings.MOST_COORDINATES) -> None:
        self._features = features
        self._places = [
            (axis, _places(features, axis), width)
            for axis, levels in enumerate(features.levels)
            if (width := min(levels // settings.CATEGORIES_PER_COORDINATE, most))
        ]

    @property
    def width(self) -> int:
        """Number of columns, k over all axes; 0 where no axis has enough categories."""
        return sum(width for *_, width in self._places)

    def fit(self, gp: GaussianProcess) -> CategoryEmbedding:
        """Return self, with the directions in which the predictions of the fitted `gp` differ most by category."""
        self._directions = [
            _directions(self._predicted(gp, axis, places), width) for axis, places, width in self._places]
        return self

    def columns(self, gp: GaussianProcess) -> FloatArray:
        """Coordinates along these directions at every grid point, (N, width), from the predictions of `gp`."""
        found = [np.empty((len(self._features), 0))]
        for (axis, places, _), directions in zip(self._places, self._directions, strict=True):
            coordinates = self._predicted(gp, axis, places) @ directions
            found.append(coordinates[self._features.category[:, axis]])
        return np.column_stack(found)

    def _predicted(self, gp: GaussianProcess, axis: int, places: Features) -> FloatArray:
        """M of one axis."""
        predicted = gp.predict(places)[0].reshape(self._features.levels[axis], -1)
        differences: FloatArray = predicted - predicted.mean(axis=0)
        return differences


def _places(features: Features, axis: int) -> Features:
    """Every category of `axis` at the same m places, with its own descriptors: L · m rows, category by category."""
    codes, levels = features.category[:, axis], features.levels[axis]
    own = _descriptors(features.numeric, codes)
    free, others = np.flatnonzero(~own), np.arange(features.category.shape[1]) != axis
    _, first = np.unique(
        np.column_stack([features.numeric[:, free], features.category[:, others]]), axis=0, return_index=True)
    rows = np.random.default_rng(0).permutation(np.sort(first))[:settings.EMBEDDING_PLACES]
    numeric = np.tile(features.numeric[rows], (levels, 1))
    category = np.tile(features.category[rows], (levels, 1))
    category[:, axis] = np.repeat(np.arange(levels), len(rows))
    # A grid may leave a category out; its coordinates are never used.
    one_of = np.zeros(levels, dtype=np.int64)
    one_of[codes] = np.arange(len(codes))
    numeric[:, own] = features.numeric[one_of[category[:, axis]]][:, own]
    return Features(numeric, category, features.levels)


def _descriptors(numeric: FloatArray, codes: IntArray) -> BoolArray:
    """Whether each column is constant within every category, (d,)."""
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    steps = np.abs(np.diff(numeric[order], axis=0))[same]
    same_throughout: BoolArray = steps.max(axis=0, initial=0.0) < settings.EQUAL
    return same_throughout


def _directions(differences: FloatArray, width: int) -> FloatArray:
    """V (m, width) of M (L, m)."""
    _, strength, right = np.linalg.svd(differences, full_matrices=False)
    right, strength = right[:width], strength[:width]
    # A sign that does not flip from one fit to the next: the second process starts from its last hyper-parameters.
    towards = np.where(right.sum(axis=1) < 0, -1.0, 1.0)
    # Directions in which nothing differs are arbitrary, and left out.
    present = strength > settings.EQUAL
    scale = np.where(present, len(differences) ** 0.5 / np.where(present, strength, 1.0), 0.0)
    directions: FloatArray = (right * (towards * scale)[:, None]).T
    return directions
