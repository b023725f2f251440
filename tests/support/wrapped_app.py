"""The tutorial's app inside middleware, as many apps behind a load balancer have it."""

from werkzeug.middleware.proxy_fix import ProxyFix

from app import app as wrapped

app = ProxyFix(wrapped)
