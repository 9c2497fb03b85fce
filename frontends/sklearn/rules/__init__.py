"""Rules for classes of scikit-learn; importing the package fills the table."""

from blockfuse.frontends.sklearn.rules import distances, linear, neural, projections, scaling, vectors
from blockfuse.frontends.sklearn.rules.table import RULES

__all__ = ["RULES", "distances", "linear", "neural", "projections", "scaling", "vectors"]
