"""What the daemon shows of itself over HTTP: health, metrics, the API, the page.

It looks, and never holds anything up: the store is read in a thread of its own, over a connection of its
own, and what operators change goes the way of the commands.
"""
