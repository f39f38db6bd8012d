"""Write tests/protocol2.json."""

from support.vectors2.whole import FILE, as_text

FILE.write_text(as_text(), encoding="utf-8")
