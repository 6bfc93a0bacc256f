"""Models of other libraries as services: small, and real."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from trio.testing import MockClock

from rpcb_models.adapters import HuggingFace, Onnx, Sklearn
from rpcb_trio import Reply, SettingError
from rpcb_trio._service import bind, placed
from rpcb_trio.testing import push_batch

ESTIMATORS = "tests.models.estimators"


def read(replies: list[Reply]) -> list[Any]:
    return [msgspec.json.decode(reply.body) for reply in replies]


@pytest.fixture(scope="module")
def estimators() -> Any:
    """The module of that name, imported only here: each process of the tests reads this file."""
    return importlib.import_module(ESTIMATORS)


async def test_an_estimator_predicts_for_rows_of_features(estimators: Any, autojump_clock: MockClock) -> None:
    service = Sklearn(estimators.of_rows())
    good, other, short = await push_batch(service, [b"[0, 0.5]", b"[6, 6]", b"[1]"])
    assert read([good, other]) == ["low", "high"]
    assert (short.error, short.error_reason) == ("request", "it has 1 features, and the model takes 2")


async def test_an_estimator_of_a_file_gives_probabilities(
    estimators: Any, tmp_path: Path, autojump_clock: MockClock
) -> None:
    file = tmp_path / "model.skops"
    estimators.dump(estimators.of_rows(), file)
    service = Sklearn(str(file), method="predict_proba")
    [[high, low]] = read(await push_batch(service, [b"[0, 0]"]))
    assert low > high
    assert low + high == pytest.approx(1)


async def test_an_estimator_of_texts_takes_texts(estimators: Any, autojump_clock: MockClock) -> None:
    service = Sklearn(estimators.of_texts())
    assert read(await push_batch(service, [b'"a good one"', b'"bad"'])) == [1, 0]


async def test_features_have_names_where_the_estimator_has_seen_them(
    estimators: Any, autojump_clock: MockClock
) -> None:
    service = Sklearn(estimators.of_named_rows())
    by_name, by_place, lacking = await push_batch(
        service, [b'{"height": 6, "width": 6}', b"[0, 0]", b'{"width": 1}']
    )
    assert read([by_name, by_place]) == ["high", "low"]
    assert lacking.error_reason == "it has no height"


async def test_a_sparse_result_is_a_row_of_numbers(estimators: Any, autojump_clock: MockClock) -> None:
    service = Sklearn(estimators.sparse(), "transform")
    assert read(await push_batch(service, [b'["b"]'])) == [[0.0, 1.0]]


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    file = tmp_path / "model.joblib"
    file.write_bytes(b"\x80\x04cposix\nsystem\n(V touch pwned\ntR.")
    with pytest.raises(SettingError, match=r"model is .*model.joblib, .* not loaded, .* runs whatever code"):
        Sklearn(str(file))


def test_types_that_are_not_trusted_are_named(estimators: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    estimators.dump(estimators.of_an_unknown_type(), file)
    with pytest.raises(SettingError, match=rf"not trusted: {ESTIMATORS}\.Sneaky; .*trusted="):
        Sklearn(str(file))
    assert Sklearn(str(file), trusted=f"{ESTIMATORS}.Sneaky").infer([[0.0, 0.0]]) == ["low"]


def test_a_method_that_an_estimator_has_not_is_told_with_those_that_it_has(estimators: Any) -> None:
    with pytest.raises(
        SettingError, match=r"LogisticRegression has not; it has predict, .*decision_function"
    ):
        Sklearn(estimators.unfitted(), method="transform")


def graph(batch: str | int = "batch") -> bytes:
    """`sum = x + y`; and `large = sum > 10`, for vectors of any length."""
    shape = [batch, "length"]
    made = helper.make_graph(
        [
            helper.make_node("Add", ["x", "y"], ["sum"]),
            helper.make_node("Greater", ["sum", "ten"], ["large"]),
        ],
        "adding",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("large", TensorProto.BOOL, shape),
        ],
        [helper.make_tensor("ten", TensorProto.FLOAT, [1], [10.0])],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


class Counting:
    """A session, and the shapes that it was run with."""

    def __init__(self, content: bytes) -> None:
        self._session = onnxruntime.InferenceSession(content)
        self.shapes: list[tuple[int, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> Any:
        self.shapes.append(inputs["x"].shape)
        return self._session.run(outputs, inputs)


ADDED = [b'{"x": [1, 2], "y": [3, 9]}', b'{"x": [1], "y": [1]}', b'{"x": [9, 9], "y": [9, 0]}']
SUMS = [
    {"sum": [4.0, 11.0], "large": [False, True]},
    {"sum": [2.0], "large": [False]},
    {"sum": [18.0, 9.0], "large": [True, False]},
]


@pytest.mark.parametrize(
    ("batch", "shapes"), [("batch", [(2, 2), (1, 1)]), (1, [(1, 2), (1, 1), (1, 2)])], ids=["any", "one"]
)
async def test_a_graph_is_run_once_for_each_shape_or_one_by_one_where_it_takes_no_more(
    batch: str | int, shapes: list[tuple[int, ...]], autojump_clock: MockClock
) -> None:
    session = Counting(graph(batch))
    assert read(await push_batch(Onnx(session), ADDED)) == SUMS
    assert session.shapes == shapes


async def test_a_graph_of_a_file_says_which_input_is_wrong(tmp_path: Path, autojump_clock: MockClock) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(graph())
    replies = await push_batch(
        Onnx(str(file)), [b'{"x": [1]}', b'{"x": [1], "y": [1], "z": [1]}', b'{"x": 1, "y": 1}', ADDED[0]]
    )
    assert [reply.error_reason for reply in replies] == [
        "the input y is missing",
        "there is no input z; there are x, y",
        "the input x has the shape (), and the model takes (length)",
        None,
    ]


def test_a_graph_with_another_batch_built_in_and_a_device_that_is_not_there_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingError, match="input x has a batch of 8 built in"):
        Onnx(onnxruntime.InferenceSession(graph(8)))
    file = tmp_path / "model.onnx"
    file.write_bytes(graph())
    with pytest.raises(SettingError, match="device is cuda:0, which onnxruntime can't use here"):
        placed(bind(Onnx(str(file))), "cuda:0")
    with pytest.raises(SettingError, match=r"model is nowhere\.onnx, and there is no such file"):
        Onnx("nowhere.onnx")


async def test_a_pipeline_of_hugging_face_classifies_a_batch_of_texts(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    words = tmp_path / "vocab.txt"
    words.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nday")
    torch.manual_seed(0)
    shape = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    pipeline = transformers.pipeline(
        "text-classification",
        model=transformers.BertForSequenceClassification(
            transformers.BertConfig(**shape, intermediate_size=8)
        ),
        tokenizer=transformers.BertTokenizerFast(vocab_file=str(words)),
    )
    service = HuggingFace(pipeline, top_k=1)
    bodies = [b'"good day"', b'"bad"', b'{"text": "good", "text_pair": "bad day"}']
    first, second, _ = read(await push_batch(service, bodies))
    assert first[0].keys() == {"label", "score"}
    assert second[0]["label"].startswith("LABEL_")
    assert service.cost("good day") == 8.0


def test_onnx_is_made_by_the_library_itself() -> None:
    onnx.checker.check_model(graph())


def test_a_folder_that_is_not_there_is_not_asked_for_at_the_hub() -> None:
    with pytest.raises(SettingError, match=r"model is \./nowhere, and there is no such file"):
        HuggingFace("./nowhere")
