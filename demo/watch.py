"""`python -m demo webhook`: a receiver that prints the calls as they come, until Ctrl-C."""

import os
import sys
import threading
from datetime import UTC, datetime
from typing import TextIO

from demo.calls import Answer, Call, Settings
from demo.webhook import Receiver

INTRODUCTION = """\
{url} takes webhooks and answers after {delay:g} ms. To change that while it runs:
  curl -X PUT -d '{{"delay": 500}}' {url}settings
"""


def watch(port: int, settings: Settings, show: int | None) -> None:
    """Receive and print, at most `show` documents of each call, until interrupted or until nobody reads the output."""
    printer = Printer(sys.stdout)
    receiver = Receiver(port)
    receiver.settings = settings

    def answer(call: Call) -> Answer:
        found = receiver.answer_by_settings(call)
        printer.write(describe(call, found, show))
        return found

    receiver.answer = answer
    receiver.start()
    try:
        printer.write(INTRODUCTION.format(url=receiver.url, delay=settings.delay))
        printer.unread.wait()
    except KeyboardInterrupt:
        pass
    finally:
        receiver.close()


def describe(call: Call, answer: Answer, show: int | None) -> str:
    """A line about the call, then its documents as they came."""
    when = datetime.fromtimestamp(call.received_at, UTC)
    status = "hangs" if answer.hang else answer.status
    lines = [
        f"{when:%H:%M:%S.%f}"[:-3]
        + f"  {status}  {call.count:,} document{'s' * (call.count != 1)}  {call.size:,} bytes  {call.id}"
    ]
    documents = call.lines()
    lines += [document.decode(errors="replace") for document in documents[:show]]
    if show is not None and len(documents) > show:
        lines.append(f"… {len(documents) - show:,} more")
    return "".join(f"{line}\n" for line in lines)


class Printer:
    """Writes to stdout from several threads, each text in one piece; `unread` is set when the reader went away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.unread = threading.Event()

    def write(self, text: str) -> None:
        """Write and flush."""
        with self._lock:
            try:
                self._stream.write(text)
                self._stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                self.unread.set()
