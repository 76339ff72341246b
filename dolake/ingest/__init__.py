"""Changes arrive: from a DoSQL database in this process or over the network, once each."""
