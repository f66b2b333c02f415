"""Session tokens in the Authorization header, for programs and apps that keep no cookies."""

from sanic import Request
from sanic.exceptions import Unauthorized


def bearer_token(request: Request) -> str | None:
    """The token in the header; None without one, or if the application does not accept tokens.

    Raises Unauthorized if there are several.
    """
    if not getattr(request.app.ctx, "bearer_tokens", False):
        return None
    found = [value.split(None, 1) for value in request.headers.getall("authorization", [])]
    tokens = [rest for scheme, *rest in filter(None, found) if scheme.lower() == "bearer"]
    if not tokens:
        return None
    if len(found) > 1:
        raise refusal()
    return "".join(tokens[0]).strip()


def refusal() -> Unauthorized:
    """The answer to an invalid token."""
    return Unauthorized("the token opens no session", scheme="Bearer")
