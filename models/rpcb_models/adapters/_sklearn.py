"""An estimator of scikit-learn: `rpcb-trio serve sklearn --option model=model.skops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rpcb_models.adapters._library import existing, library
from rpcb_trio import RequestError, SettingError

Value = float | str | bool | None
Row = list[Value] | dict[str, Value] | str
"""The features of one request: in the order of the estimator, or by their names; or a text."""

METHODS = ("predict", "predict_proba", "decision_function", "transform")


class Sklearn:
    """Serves what an estimator, or a pipeline of them, predicts.

    A request is a list of features, a map of them by name (needs pandas), or a text, as the estimator takes
    it. The reply is what the method returns for that row.

    Args:
        model: the estimator; or the path of a file of `skops.io.dump`. Pickles (`.pkl`, `.joblib`) are not
            loaded, for that runs whatever code is in them.
        method: of the estimator.
        trusted: names of types in the file, with commas between them, that you trust beside those of
            scikit-learn.

    Raises:
        SettingError: the model can't be loaded, or has no such method.
    """

    def __init__(
        self,
        model: str | Any,
        method: Literal["predict", "predict_proba", "decision_function", "transform"] = "predict",
        trusted: str = "",
    ) -> None:
        estimator = _loaded(model, trusted) if isinstance(model, str) else model
        if method not in METHODS:
            raise SettingError(f"method is {method}; give one of {', '.join(METHODS)}")
        if not hasattr(estimator, method):
            able = [each for each in METHODS if hasattr(estimator, each)]
            raise SettingError(
                f"method is {method}, which {type(estimator).__name__} has not; it has {', '.join(able)}"
            )
        self._call = getattr(estimator, method)
        self._width: int | None = getattr(estimator, "n_features_in_", None)
        names = getattr(estimator, "feature_names_in_", None)
        self._names: list[str] | None = None if names is None else list(names)

    def infer(self, rows: list[Row]) -> list[Any]:
        """Predict for rows, those of each form at once."""
        results: list[Any] = [self._fault_of(row) for row in rows]
        for form in (list, dict, str):
            places = [
                place for place, row in enumerate(rows) if isinstance(row, form) and results[place] is None
            ]
            if places:
                found = self._call(self._features([rows[place] for place in places]))
                if hasattr(found, "toarray"):  # a sparse matrix
                    found = found.toarray()
                for place, each in zip(places, found, strict=True):
                    results[place] = each
        return results

    def _fault_of(self, row: Row) -> RequestError | None:
        if isinstance(row, dict) and self._names is not None and (missing := {*self._names} - {*row}):
            return RequestError(f"it has no {', '.join(sorted(missing))}")
        if isinstance(row, list) and self._width is not None and len(row) != self._width:
            return RequestError(f"it has {len(row)} features, and the model takes {self._width}")
        return None

    def _features(self, rows: Sequence[Any]) -> Any:
        if isinstance(rows[0], str):
            return rows
        if isinstance(rows[0], dict):
            return library("pandas", "sklearn").DataFrame(rows, columns=self._names)
        if self._names is not None:  # it was fitted on a table, and warns of anything else
            return library("pandas", "sklearn").DataFrame(rows, columns=self._names)
        return library("numpy", "sklearn").asarray(rows)


def _loaded(model: str, trusted: str) -> Any:
    path = existing("model", model)
    io = library("skops.io", "sklearn")
    known = [each.strip() for each in trusted.split(",") if each.strip()]
    try:
        unknown = sorted({*io.get_untrusted_types(file=path)} - {*known})
        if not unknown:
            return io.load(path, trusted=known)
    except Exception as error:
        raise SettingError(
            f"model is {model}, which is no file of skops.io.dump ({error}). Pickles and files of joblib are "
            "not loaded, for that runs whatever code is in them; load one in a module of yours, and give the "
            "estimator to Sklearn"
        ) from error
    raise SettingError(
        f"model is {model}, which has types that are not trusted: {', '.join(unknown)}; if you trust them, "
        "name them with --option trusted=NAME,NAME"
    )
