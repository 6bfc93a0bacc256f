"""Models of other libraries as services, each with one line: an estimator, an ONNX graph, a pipeline.

The library is imported when such a service is made, so none of them is needed for another one.
"""

from rpcb_models.adapters._onnx import Onnx
from rpcb_models.adapters._sklearn import Sklearn
from rpcb_models.adapters._transformers import HuggingFace

__all__ = ["HuggingFace", "Onnx", "Sklearn"]
