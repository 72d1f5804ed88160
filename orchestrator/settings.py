"""Django's settings.  The composition root: with urls, asgi and celery the only place that knows
every package.  Where the database and the broker are, `orchestrator.embedded.paths` says."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from orchestrator import logs, tracing
from orchestrator.conf import conf, parse_bool
from orchestrator.embedded import paths
from tenants import environment

BASE_DIR = Path(__file__).resolve().parent.parent


POOL = {"min_size": 0, "max_size": 32, "timeout": 10, "max_idle": 60}
"""Connections of one web process; `asgi.py` asks for it.  Commands connect once, and fail at once."""


def _flag(name: str, default: bool = False) -> bool:
    text = os.environ.get(name, str(default))
    try:
        return parse_bool(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={text!r}: {error}.") from None


def _database(url: str) -> dict[str, object]:
    """Django's DATABASES entry of a `postgresql://` address; a socket folder may be `?host=`."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured(
            f"DATABASE_URL must start with postgresql:// (it starts with {parts.scheme}://)."
        )
    try:
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL has a port that is none: write postgresql://user:password@host:5432/name."
        ) from None
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    host = query.pop("host", parts.hostname or "")
    return {
        "ENGINE": "tenants.fence",
        "NAME": unquote(parts.path.lstrip("/")) or "millrace",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(port or ""),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # they would pass the fence, and no pooler keeps them
        "OPTIONS": {
            **query,
            **({"pool": POOL} if _flag("DATABASE_POOL") else {}),
            "application_name": "millrace",
        },
        "TEST": {"NAME": os.environ.get("TEST_DATABASE_NAME") or None},
    }


def _secret_key() -> str:
    """The signing key: from the environment, else one made for this data folder and kept there."""
    if key := os.environ.get("SECRET_KEY"):
        return key
    file = paths.data_dir() / "secret.key"
    try:
        return file.read_text()
    except FileNotFoundError:
        pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImproperlyConfigured(
            f"{file} cannot be read ({reason}): run this as the user who owns the data folder, "
            f"or correct DATA_DIR."
        ) from None
    key = secrets.token_urlsafe(50)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(file, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as handle:
            handle.write(key)
    except FileExistsError:
        return file.read_text()
    except OSError:
        return key  # nothing can be kept there: `up` says so with the mend
    return key


def _payload_storage() -> dict[str, object]:
    """Where payloads of more than 1 MiB lie: a folder, or a bucket."""
    options: dict[str, object]
    where = os.environ.get("PAYLOAD_STORAGE") or str(paths.data_dir() / "payloads")
    if not where.startswith("s3://"):
        options = {
            "location": where,
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        }
        return {"BACKEND": "orchestrator.store.files.DurableFiles", "OPTIONS": options}
    if find_spec("storages") is None:
        raise ImproperlyConfigured(
            "PAYLOAD_STORAGE names a bucket: run `requirements/install s3` to install what that needs."
        )
    bucket, _, folder = where.removeprefix("s3://").partition("/")
    if not bucket:
        raise ImproperlyConfigured("PAYLOAD_STORAGE names no bucket: write s3://bucket/folder.")
    options = {"bucket_name": bucket, "location": folder.strip("/"), "file_overwrite": True}
    return {"BACKEND": "orchestrator.store.buckets.Bucket", "OPTIONS": options}


DEBUG = _flag("DEBUG")
SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = [key for key in os.environ.get("SECRET_KEY_FALLBACKS", "").split(",") if key]
ALLOWED_HOSTS = environment.names(os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"))
CSRF_TRUSTED_ORIGINS = environment.origins(os.environ.get("CSRF_TRUSTED_ORIGINS", ""))

INSTALLED_APPS = [
    "tenants.site.AdminThemeConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "template_partials",
    "django_prometheus",
    "axes",
    "csp",
    "channels",
    "ninja",
    "tenants",
    "orchestrator",
    "dashboard",
]

MIDDLEWARE = [
    "tenants.fence.middleware.Fence",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "dashboard.static_files.StaticFiles",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "orchestrator.urls"
ASGI_APPLICATION = "orchestrator.asgi.application"
DATABASES = {"default": _database(paths.database_url())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_TEMPLATE = "dashboard/locked.html"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
SESSION_ENGINE = "tenants.sessions"
PASSWORD_RESET_TIMEOUT = 24 * 3600  # seconds
OIDC = environment.oidc(os.environ)
_mail = environment.mail(os.environ)
MAIL_IS_SENT = _mail["MAIL_IS_SENT"]
globals().update(_mail)  # Django's own EMAIL_* and DEFAULT_FROM_EMAIL

SECURE_PROXY = _flag("BEHIND_TLS_PROXY")
# asked for past the proxy, over plain HTTP
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^metrics$"]
if SECURE_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = SECURE_PROXY
CSRF_COOKIE_SECURE = SECURE_PROXY
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ("/api/v1/docs",),
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "payloads": _payload_storage(),
}
STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT")  # only for collectstatic; served by the finders else
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024 * 1024

CELERY_BROKER_URL = environment.broker(paths.broker_url())
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "io"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 5}

_channels_url = paths.channels_url()
CHANNEL_LAYERS = (
    {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [_channels_url], "prefix": "millrace"},
        }
    }
    if _channels_url
    else {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
)

DATETIME_FORMAT = "Y-m-d H:i:s e"

UNFOLD = {
    "SITE_TITLE": "Millrace",
    "SITE_HEADER": "Millrace",
    "SITE_URL": "/",
    "SITE_ICON": lambda _request: static("img/favicon.svg"),
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _request: static("img/favicon.svg"),
        }
    ],
    "SHOW_HISTORY": False,
    "COLORS": {
        "primary": {
            "50": "#f4f4fe",
            "100": "#eeeefc",
            "200": "#dcdcfa",
            "300": "#bfc0f5",
            "400": "#a9abff",
            "500": "#7577e4",
            "600": "#5254cf",
            "700": "#4345b8",
            "800": "#373998",
            "900": "#2d2f78",
            "950": "#1c1d4d",
        }
    },
}

LOGGING = logs.configuration(
    form=conf().log_format, level=environment.log_level(os.environ.get("LOG_LEVEL", "INFO"))
)
tracing.check()
