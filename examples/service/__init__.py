"""A net as a service: frozen when its image is built, answered over HTTP by processes that load no compiler."""
