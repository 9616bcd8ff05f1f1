"""Stand-ins that tests of labels share: hashed features, and a checker that says what it is told to."""

import struct

ADMIN = "admin-key-of-the-test"


def stand_in(text):
    """Features as the store is given them: ascending 32-bit numbers."""
    return b"".join(struct.pack("<I", place) for place in sorted({hash_of(word) for word in text.split()}))


def features(said):
    """What a store asks for, of a request in the hub's words."""
    words = (m["content"] for m in said["messages"])
    return stand_in("\n".join(word for word in words if isinstance(word, str))), [1.0, 2.0]


def hash_of(word):
    return sum(ord(letter) * 31**i for i, letter in enumerate(word)) % 2**18


class Grades:
    """A checker that says what it is told to, by model; it keeps what it was asked."""

    def __init__(self, **scores):
        self.scores = {name.replace("_", "-"): score for name, score in scores.items()}
        self.asked = []

    async def score(self, asked, answer, model, route):
        self.asked.append((asked, answer, model, route))
        score = self.scores.get(model)
        if isinstance(score, Exception):
            raise score
        return score
