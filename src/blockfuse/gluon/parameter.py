"""Gluon's ``gluon.parameter``."""

from blockfuse.nn.parameter import Constant, Parameter
from blockfuse.nn.parameter_dict import ParameterDict

__all__ = ["Constant", "Parameter", "ParameterDict"]
