"""The golden vectors of protocol 2, tests/protocol2.json, made by the second codec.

`python -m support.vectors2`, in tests/, writes the file. Everything in it comes from fixed keys and
from bytes that look random (`inputs`), so that it comes out the same each time.
"""
