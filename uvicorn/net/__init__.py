"""What comes from the network: sockets, addresses, TLS contexts, and what proxies say."""
