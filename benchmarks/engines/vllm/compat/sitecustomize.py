"""Let torchvision's wheel for CUDA, the one on the package index, load beside torch for a CPU.

Its compiled operators stay away, and it describes two of them all the same, which fails unless
they are known by name. vLLM calls neither for these models.
"""

import torch

NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
if torch.version.cuda is None:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", NMS)
