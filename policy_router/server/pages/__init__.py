"""The service's pages: what was decided, why, and what if, in a browser.

A page is made on the server, and can be read without JavaScript. What it shows comes from the same
places as the answers over HTTP; it needs the same roles.
"""
