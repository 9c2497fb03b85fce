"""Datasets of images, and what is done to an image before a net sees it."""

from blockfuse.nn.data.vision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from blockfuse.nn.data.vision.images import ImageFolderDataset

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "ImageFolderDataset"]
