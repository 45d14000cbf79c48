"""Who asks: the caller of a route, checked."""

from __future__ import annotations

from fastapi import Request

from wire.access import Principal, Role
from wire.problem import Forbidden


def caller(request: Request, role: Role) -> Principal:
    """The authenticated caller, who must have ``role``."""
    principal: Principal = request.state.principal
    principal.require(role)
    return principal


def staff(request: Request, role: Role) -> Principal:
    """The authenticated caller, who must belong to the vendor's staff and have ``role``."""
    principal = caller(request, role)
    if principal.tenant_id is not None:
        raise Forbidden("This is for the vendor's own staff.")
    return principal
