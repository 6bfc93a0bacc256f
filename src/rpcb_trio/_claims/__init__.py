"""Bodies that travel by a store: a message with a claim stands for each."""

from rpcb_trio._claims._calling import CallerClaims
from rpcb_trio._claims._claim import CLAIM_HEADER, CLAIMS_HEADER, Claim, claim_in, is_claimed
from rpcb_trio._claims._serving import CLAIMS_KEPT, NO_CLAIMS, Claims
from rpcb_trio._claims._store import ClaimStore

__all__ = [
    "CLAIMS_HEADER",
    "CLAIMS_KEPT",
    "CLAIM_HEADER",
    "NO_CLAIMS",
    "CallerClaims",
    "Claim",
    "ClaimStore",
    "Claims",
    "claim_in",
    "is_claimed",
]
