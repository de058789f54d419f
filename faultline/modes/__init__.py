"""All modes; importing this package puts them into the catalogue."""

from faultline.modes.answers import *  # noqa: F403 - these are the public names
from faultline.modes.breaks import *  # noqa: F403
from faultline.modes.certificates import *  # noqa: F403
from faultline.modes.conditions import *  # noqa: F403
from faultline.modes.datagrams import *  # noqa: F403
from faultline.modes.door import *  # noqa: F403
from faultline.modes.events import *  # noqa: F403
from faultline.modes.grpc import *  # noqa: F403
from faultline.modes.http2 import *  # noqa: F403
from faultline.modes.lies import *  # noqa: F403
from faultline.modes.lookups import *  # noqa: F403
from faultline.modes.proxies import *  # noqa: F403
from faultline.modes.tls import *  # noqa: F403
from faultline.modes.websocket import *  # noqa: F403
