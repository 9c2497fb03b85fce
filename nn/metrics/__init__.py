"""What is measured of predictions: ``from blockfuse import metric``."""

from blockfuse.nn.metrics.classification import F1, MCC, Accuracy, BinaryAccuracy, Fbeta, TopKAccuracy
from blockfuse.nn.metrics.composite import CompositeEvalMetric, CustomMetric, create, np, register
from blockfuse.nn.metrics.metric import EvalMetric
from blockfuse.nn.metrics.probability import CrossEntropy, Loss, NegativeLogLikelihood, Perplexity
from blockfuse.nn.metrics.regression import (
    MAE,
    MSE,
    RMSE,
    MeanCosineSimilarity,
    MeanPairwiseDistance,
    PearsonCorrelation,
)

__all__ = [
    "F1",
    "MAE",
    "MCC",
    "MSE",
    "RMSE",
    "Accuracy",
    "BinaryAccuracy",
    "CompositeEvalMetric",
    "CrossEntropy",
    "CustomMetric",
    "EvalMetric",
    "Fbeta",
    "Loss",
    "MeanCosineSimilarity",
    "MeanPairwiseDistance",
    "NegativeLogLikelihood",
    "PearsonCorrelation",
    "Perplexity",
    "TopKAccuracy",
    "create",
    "np",
    "register",
]
