"""Estimators of scikit-learn: every rule against scikit-learn itself, refits, hostile input, and what is compiled."""

import copy
import pickle
import threading
import timeit
import warnings

import numpy
import pytest

import blockfuse
from blockfuse.ir.errors import CompilerWarning

sklearn = pytest.importorskip("sklearn", minversion="1.6")
from sklearn import linear_model as linear  # noqa: E402
from sklearn.base import BaseEstimator  # noqa: E402
from sklearn.cluster import KMeans, MiniBatchKMeans  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD  # noqa: E402
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402
from sklearn.feature_selection import SelectKBest, VarianceThreshold  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import FeatureUnion, make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    Binarizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR  # noqa: E402

from blockfuse.frontends.sklearn import plan  # noqa: E402
from blockfuse.frontends.sklearn.rules.table import METHODS  # noqa: E402

RANDOM = numpy.random.default_rng(5)
X = RANDOM.normal(size=(60, 5))
TWO = numpy.array(["no", "yes"])[(X[:, 0] + X[:, 1] > 0).astype(int)]
THREE = numpy.array([7, 8, 20])[(X[:, 0] > 0).astype(int) + (X[:, 2] > 0.5)]
SEVERAL = (X[:, :3] > 0).astype(int)
ONE = X @ numpy.arange(1.0, 6.0) + 1
PAIR = X @ RANDOM.normal(size=(5, 2))
TRANSFORMERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    RobustScaler(),
    MinMaxScaler((-1, 3)),
    MinMaxScaler(clip=True),
    MaxAbsScaler(),
    Normalizer(),
    Normalizer("l1"),
    Normalizer("max"),
    Binarizer(threshold=0.3),
    PCA(3, svd_solver="full"),
    PCA(3, whiten=True),
    IncrementalPCA(2),
    TruncatedSVD(2),
    PolynomialFeatures(),
    PolynomialFeatures(3, interaction_only=True),
    PolynomialFeatures((2, 3), include_bias=False),
    SelectKBest(k=3),
    VarianceThreshold(),
    SimpleImputer(),
    KMeans(3, n_init=1),
    MiniBatchKMeans(3, n_init=1),
    FeatureUnion([("a", PCA(2)), ("b", StandardScaler())], transformer_weights={"a": 2.0}),
    ColumnTransformer([("a", StandardScaler(), [0, 3]), ("b", "passthrough", [1]), ("c", Normalizer(), [2])]),
    ColumnTransformer([("a", StandardScaler(), [4, 0])], remainder="passthrough"),
    make_pipeline(SimpleImputer(), "passthrough", StandardScaler(), PCA(2)),
]
CLASSIFIERS = [
    linear.LogisticRegression(),
    LinearSVC(),
    linear.SGDClassifier(),
    linear.SGDClassifier(loss="log_loss"),
    linear.SGDClassifier(loss="modified_huber"),
    linear.Perceptron(),
    linear.RidgeClassifier(),
    LinearDiscriminantAnalysis(),
    LinearDiscriminantAnalysis(solver="eigen"),
    GaussianNB(),
    SVC(),
    SVC(kernel="linear", decision_function_shape="ovo"),
    SVC(kernel="poly", coef0=0.5),
    SVC(kernel="sigmoid", break_ties=True),
    NuSVC(nu=0.1),
    MLPClassifier((6,), max_iter=4),
    MLPClassifier((6, 4), activation="tanh", max_iter=4),
    make_pipeline(StandardScaler(), make_pipeline(PCA(3), linear.LogisticRegression())),
]
REGRESSORS = [
    linear.LinearRegression(),
    linear.LinearRegression(fit_intercept=False),
    linear.Ridge(),
    linear.Lasso(),
    linear.ElasticNet(),
    linear.SGDRegressor(),
    linear.HuberRegressor(),
    linear.BayesianRidge(),
    LinearSVR(),
    SVR(),
    SVR(kernel="poly", degree=2),
    NuSVR(kernel="linear"),
    MLPRegressor(hidden_layer_sizes=(6,), max_iter=4),
    MLPRegressor(hidden_layer_sizes=(6,), activation="logistic", max_iter=4),
]
OF_TWO = [
    linear.LinearRegression(),
    linear.MultiTaskLasso(),
    MLPRegressor(hidden_layer_sizes=(6,), max_iter=4),
]
CASES = [
    *[(each, TWO) for each in TRANSFORMERS],
    *[(each, y) for each in CLASSIFIERS for y in (TWO, THREE)],
    (MLPClassifier((6,), max_iter=4), SEVERAL),
    *[(each, ONE) for each in REGRESSORS],
    *[(each, PAIR) for each in OF_TWO],
    (linear.PoissonRegressor(), abs(ONE)),
]
CALLS = [X[:1] + 0.1, X[:7] * 1.3, (X[:5] * 5).astype("int64"), X[:5].astype("float32")]


def fitted(estimator, y=TWO, x=X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return copy.deepcopy(estimator).fit(x, y)


class Eager:
    """The program of a plan, run by Python."""

    def __init__(self, node, method, options):
        self.function = PROGRAM(node, method, options).__wrapped__

    def __call__(self, *args):
        return tuple(value.asnumpy() for value in self.function(*[_own(each) for each in args]))

    def explain(self):
        return ""


PROGRAM = plan.program


def _own(value):
    if isinstance(value, tuple):
        return tuple(_own(each) for each in value)
    return blockfuse.np.array(value, dtype=value.dtype)


@pytest.fixture
def eagerly(monkeypatch):
    """Programs are not compiled: what is tested is what they compute."""
    monkeypatch.setattr(plan, "program", Eager)


def outcome(method, *args, **kwargs):
    try:
        return method(*args, **kwargs)
    except Exception as error:
        return error


def assert_same(expected, found, narrow=False):
    if isinstance(expected, Exception):
        assert (type(found), str(found)) == (type(expected), str(expected))
        return
    assert type(found) is type(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind != "f":
        assert (found == expected).all()
        return
    tolerance = 1e-4 if narrow else 1e-12
    numpy.testing.assert_allclose(
        found, expected, tolerance, tolerance * 10 * (1 + numpy.abs(expected).max())
    )


def in_sklearn(method):
    """The lines of explain() on what was not computed in a program."""
    return [line for line in method.explain().splitlines() if "in scikit-learn" in line]


@pytest.mark.spread(3)
@pytest.mark.usefixtures("eagerly")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("estimator", "y"), CASES, ids=lambda value: repr(value).split("\n")[0][:50])
def test_methods_give_what_scikit_learn_gives(estimator, y):
    estimator = fitted(estimator, y)
    net = blockfuse.compile(estimator)
    assert blockfuse.missing(estimator) == ()
    for name in METHODS:
        assert hasattr(net, name) == hasattr(estimator, name)
        for x in CALLS if hasattr(net, name) else ():
            expected = outcome(getattr(estimator, name), x)
            assert_same(expected, outcome(getattr(net, name), x), x.dtype == "float32")
        if hasattr(net, name):
            assert in_sklearn(getattr(net, name)) in ([], ["1 calls in scikit-learn: it takes no float32"])


class Doubled(StandardScaler):
    def transform(self, X):
        return 2 * super().transform(X)


HOSTILE = [
    X.tolist(),
    X[0],
    X[:0],
    X[:, :3],
    numpy.asfortranarray(X),
    X[::2, ::-1],
    X.astype(object),
    X.astype("float16"),
    X.astype(complex),
    X > 0,
    X.astype(str),
    numpy.where(X > 1, numpy.nan, X),
    numpy.where(X > 1, numpy.inf, X),
    X[None],
    numpy.float64(3),
    numpy.ma.masked_array(X, X > 0),
    X.astype(">f8"),
    None,
    "text",
    [[1.0, 2.0], [3.0]],
    X * 1e300,
]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("x", HOSTILE, ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}")
def test_unusual_input_has_the_outcome_of_scikit_learn(x):
    scaler, model = fitted(StandardScaler()), fitted(make_pipeline(StandardScaler(), SVC(kernel="linear")))
    assert_same(outcome(scaler.transform, x), outcome(blockfuse.compile(scaler).transform, x))
    assert_same(outcome(model.predict, x), outcome(blockfuse.compile(model).predict, x))


@pytest.mark.usefixtures("eagerly")
def test_sparse_input_is_scikit_learns():
    sparse = pytest.importorskip("scipy.sparse")
    model = fitted(linear.LogisticRegression())
    found = blockfuse.compile(model).predict_proba(sparse.csr_matrix(X))
    assert (found == model.predict_proba(sparse.csr_matrix(X))).all()


@pytest.mark.usefixtures("eagerly")
def test_keywords_are_handed_on():
    model = fitted(linear.BayesianRidge(), ONE)
    _, deviation = blockfuse.compile(model).predict(X, return_std=True)
    assert (deviation == model.predict(X, return_std=True)[1]).all()


@pytest.mark.usefixtures("eagerly")
def test_nan_is_refused_where_a_step_behind_the_first_meets_it():
    model = fitted(make_pipeline(StandardScaler(), PCA(2)))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        blockfuse.compile(model).transform(numpy.full((1, 5), numpy.nan))
    filled = fitted(make_pipeline(SimpleImputer(), PCA(2)))
    net = blockfuse.compile(filled)
    holes = numpy.where(X > 1, numpy.nan, X)
    assert_same(filled.transform(holes), net.transform(holes))
    assert in_sklearn(net.transform) == []


@pytest.mark.usefixtures("eagerly")
def test_a_step_fitted_anew_on_other_features_is_refused_as_there():
    model = fitted(make_pipeline(PCA(1), StandardScaler()))
    net = blockfuse.compile(model)
    assert_same(model.transform(X), net.transform(X))
    model[1].fit(X)
    with pytest.raises(ValueError, match="X has 1 features"):
        net.transform(X)


CHANGES = [
    lambda model: model.fit(X * 2, THREE),
    lambda model: model[0].fit(X * 3 + 1),
    lambda model: model[1].partial_fit(X, TWO),
    lambda model: model[1].coefs_[0].__setitem__(0, 9.0),
    lambda model: model[1].set_params(warm_start=True, max_iter=2).fit(X, TWO),
    lambda model: model.set_params(mlpclassifier__activation="tanh"),
    lambda model: model.set_params(mlpclassifier__hidden_layer_sizes=(3, 3)).fit(X, TWO),
    lambda model: model.set_params(standardscaler=fitted(MinMaxScaler())),
    lambda model: model.set_params(standardscaler="passthrough"),
    lambda model: model.steps.insert(0, ("more", fitted(RobustScaler()))),
    lambda model: setattr(model[0], "with_mean", False),
    lambda model: setattr(model[1], "predict", lambda X: X[:, 0]),
    lambda model: setattr(model[0], "__class__", Doubled),
]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:UserWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_an_estimator_is_seen_by_the_next_call(change):
    model = fitted(make_pipeline(StandardScaler(), MLPClassifier((6,), max_iter=4)))
    net = blockfuse.compile(model)
    assert_same(model.predict(X), net.predict(X))
    before = net.predict_proba(X)
    change(model)
    assert_same(model.predict(X), net.predict(X))
    assert_same(model.predict_proba(X), net.predict_proba(X))
    assert before is not net.predict_proba(X)


@pytest.mark.usefixtures("eagerly")
def test_parts_without_a_rule_are_listed_at_once():
    columns = ColumnTransformer([("hot", OneHotEncoder(sparse_output=False), [0]), ("own", Doubled(), [1])])
    model = fitted(make_pipeline(columns, StandardScaler(copy=False), SVC(kernel=lambda a, b: a @ b.T)))
    reasons = blockfuse.missing(model)
    assert [reason.split(":")[0] for reason in reasons] == [
        "columntransformer.hot.OneHotEncoder",
        "columntransformer.own.Doubled",
        "standardscaler.StandardScaler",
        "svc.SVC",
    ]
    net = blockfuse.compile(model)
    assert_same(model.predict(X), net.predict(X))
    assert "no rule for the class" in in_sklearn(net.predict)[0]


@pytest.mark.usefixtures("eagerly")
def test_an_estimator_may_be_fitted_later():
    scaler = StandardScaler()
    net = blockfuse.compile(scaler)
    assert blockfuse.missing(scaler) == ("StandardScaler: it is not fitted",)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        net.transform(X)
    net.fit(X)
    assert_same(scaler.transform(X), net.transform(X))


@pytest.mark.usefixtures("eagerly")
def test_attributes_are_the_estimators():
    model = fitted(linear.LogisticRegression())
    net = blockfuse.compile(model)
    assert net.classes_ is model.classes_
    net.coef_ = model.coef_ * 2
    assert_same(model.decision_function(X), net.decision_function(X))
    assert not hasattr(net, "transform")


@pytest.mark.usefixtures("eagerly")
def test_other_containers_for_results_are_scikit_learns():
    scaler = fitted(StandardScaler())
    net = blockfuse.compile(scaler)
    net.transform(X)
    with sklearn.config_context(transform_output="pandas"):
        assert type(outcome(scaler.transform, X)) is type(outcome(net.transform, X))


@pytest.mark.usefixtures("eagerly")
def test_a_rule_that_scikit_learn_contradicts_is_not_used(monkeypatch):
    monkeypatch.setattr(StandardScaler, "transform", lambda self, X: X + 1)
    net = blockfuse.compile(fitted(StandardScaler()))
    with pytest.warns(CompilerWarning, match="something else"):
        first = net.transform(X)
    assert (first == X + 1).all()
    assert (net.transform(X) == X + 1).all()


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match="none of the methods"):
        blockfuse.compile(BaseEstimator())
    with pytest.raises(TypeError, match=r"not (ABCMeta|type)"):
        blockfuse.compile(StandardScaler)
    with pytest.raises(TypeError, match="no option 'speed'"):
        blockfuse.compile(StandardScaler(), speed=1)


# -- names of features ----------------------------------------------------------------------------------------------


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=["a", "b", "c", "d", "e"])
    return table.assign(d=(X[:, 3] * 4).astype(int), e=X[:, 4].astype("float32"), word="text")


@pytest.mark.usefixtures("eagerly")
def test_data_frames_are_taken(frame):
    numbers = frame[["a", "b", "d"]]
    model = fitted(make_pipeline(StandardScaler(), linear.LogisticRegression()), x=numbers)
    net = blockfuse.compile(model)
    assert_same(model.predict_proba(numbers), net.predict_proba(numbers))
    assert in_sklearn(net.predict_proba) == []
    for other in (
        numbers[["b", "a", "d"]],
        numbers[["a"]],
        frame,
        numbers.assign(a="x"),
        numbers * numpy.nan,
    ):
        assert_same(outcome(model.predict_proba, other), outcome(net.predict_proba, other))


@pytest.mark.usefixtures("eagerly")
def test_arrays_for_what_was_fitted_with_names_warn_as_there(frame):
    numbers = frame[["a", "b", "d"]]
    model = fitted(StandardScaler(), x=numbers)
    net = blockfuse.compile(model)
    for _ in range(2):
        with pytest.warns(UserWarning, match="X does not have valid feature names, but StandardScaler"):
            net.transform(X[:, :3])


@pytest.mark.usefixtures("eagerly")
def test_columns_of_data_frames_go_different_ways(frame):
    parts = [("s", StandardScaler(), ["a", "d"]), ("n", make_pipeline(SimpleImputer(), Normalizer()), ["e"])]
    model = fitted(
        make_pipeline(ColumnTransformer([*parts, ("p", "passthrough", ["b"])]), SVC(kernel="linear")), x=frame
    )
    net = blockfuse.compile(model)
    assert blockfuse.missing(model) == ()
    changed = frame.assign(more=1)[["word", "more", "e", "d", "c", "b", "a"]]
    for table in (frame, frame[:1], changed):
        assert_same(model.decision_function(table), net.decision_function(table), narrow=True)
    assert in_sklearn(net.decision_function) == []
    for other in (frame.drop(columns="a"), X):
        assert_same(outcome(model.decision_function, other), outcome(net.decision_function, other))


# -- compiled -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_calls_are_compiled():
    model = fitted(make_pipeline(StandardScaler(), linear.SGDClassifier(loss="log_loss")))
    net = blockfuse.compile(model, threads=1)
    for samples in (1, 3, 5, 9):
        assert_same(model.predict(X[:samples]), net.predict(X[:samples]))
    assert "predict(float64[any, 5]" in net.explain()
    model[1].partial_fit(X, TWO)
    model[0].mean_[0] = 3.0
    assert_same(model.predict(X[:6]), net.predict(X[:6]))
    assert in_sklearn(net.predict) == []
    with pytest.raises(ValueError, match="infinity"):
        net.predict(numpy.full((6, 5), numpy.inf))


def test_copies_pickles_and_threads():
    model = fitted(SVR(kernel="linear"), ONE)
    net = blockfuse.compile(model, threads=1)
    expected = model.predict(X[:2])
    assert_same(expected, net.predict(X[:2]))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin._estimator is not model
        assert_same(expected, twin.predict(X[:2]))
    found = []
    threads = [threading.Thread(target=lambda: found.append(net.predict(X[:2]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for result in found:
        assert_same(expected, result)


@pytest.mark.alone
@pytest.mark.long
def test_a_sample_is_computed_many_times_as_fast():
    model = fitted(make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(16,), max_iter=4)), ONE)
    net = blockfuse.compile(model)
    sample = X[:1].copy()
    for _ in range(3):
        net.predict(sample)
    theirs = min(timeit.repeat(lambda: model.predict(sample), number=20, repeat=5))
    ours = min(timeit.repeat(lambda: net.predict(sample), number=20, repeat=5))
    assert ours < theirs / 5
