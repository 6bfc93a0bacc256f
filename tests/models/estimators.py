"""Estimators of scikit-learn, as a user would make them. It takes seconds to import what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

ROWS = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [5.0, 6.0]])
KINDS = np.array(["low", "low", "high", "high"])


class Sneaky(LogisticRegression):  # type: ignore[misc] # scikit-learn carries no types
    """A type that skops does not know."""


def unfitted() -> Any:
    return LogisticRegression()


def of_rows() -> Any:
    return LogisticRegression().fit(ROWS, KINDS)


def of_named_rows() -> Any:
    return LogisticRegression().fit(pd.DataFrame(ROWS, columns=["width", "height"]), KINDS)


def of_texts() -> Any:
    return make_pipeline(CountVectorizer(), LogisticRegression()).fit(["good day", "bad day"], [1, 0])


def sparse() -> Any:
    return OneHotEncoder().fit([["a"], ["b"]])


def of_an_unknown_type() -> Any:
    return Sneaky().fit(ROWS, KINDS)


def dump(estimator: Any, file: Path) -> None:
    skops.io.dump(estimator, file)
