"""Zero-cost scores: what an untrained network's activations and gradients say of its design.

`scores(module, batch, labels)` computes gradient norm, SNIP, SynFlow, NASWOT, ZiCo and AZ-NAS's
expressivity, progressivity and trainability of any `torch.nn.Module`; higher is better, NaN where
undefined. `counts(module, batch)` gives what they are to be compared with: parameters,
multiply-accumulates and depth.

No zero-cost score beat multiply-accumulates on the published networks of this space, so none is
the default score of a search: they are a second opinion on finalists, to be read beside the
counts.

How it is done:

- Every score is of a canonical initialisation, in evaluation mode with batch norm alone in train
  mode (`canonical_initialisation`); the module handed in is copied and never changed.
- Activations, norms and additions are seen as functions run (`trace`), so that functional code
  counts like modules.
- The blocks that AZ-NAS reads are found as the points where the network is one tensor wide
  (`blocks`), or named by the caller.

`python -m results.zero_cost.nasbench201` checks the scores against the rank
correlations published for NAS-Bench-201.
"""

from effsearch.accuracy.zero_cost.az_nas import rank_sum
from effsearch.accuracy.zero_cost.canonical_initialisation import canonical_copy
from effsearch.accuracy.zero_cost.counts import counts
from effsearch.accuracy.zero_cost.scoring import NAMES, scores

__all__ = ["NAMES", "canonical_copy", "counts", "rank_sum", "scores"]
