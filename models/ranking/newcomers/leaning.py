"""Users with few events: how far their lists lean on popularity.

Fusion learns from windows as the log has them, which may be long ones almost alone. One or two
events then say less than what everybody likes. So the network's logits give way to the logarithms
of popular shares, the more the fewer events there are::

    logit = (1 - w) * network + w * log popular share,   w = 1 - events / leans_until

Training chooses ``leans_until`` on users whom it hides. A user of whom features or follows are
known needs none of this: there what is known stands beside the events, in the user's factors.
"""

from __future__ import annotations

import numpy as np

from models.base.types import Float32, Int64
from models.ranking.newcomers.known import Known


def lean_weights(n_events: Int64, until: float, known: Known | None = None, strength: float = 0.0) -> Float32:
    """Return the weight of popularity in users' logits, (n,) float32, from 0 to below 1.

    0 without events: such a list is not the network's at all.

    Parameters
    ----------
    n_events : (n,) int64, of the window
    until : see :class:`models.artifact.manifest.Manifest`; 0 where no list leans
    known, strength : what is known beside the windows, and the events that it is worth
    """
    n = len(n_events)
    if not until:
        return np.zeros(n, dtype=np.float32)
    is_alone = np.ones(n, dtype=np.bool_) if known is None or not strength else ~known.both.is_known
    weights = np.maximum(1.0 - n_events / until, 0.0)
    found: Float32 = np.where((n_events > 0) & is_alone, weights, 0.0).astype(np.float32)
    return found
