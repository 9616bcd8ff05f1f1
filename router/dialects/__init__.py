"""Wire formats, as pure functions over bytes. A dialect holds no state but its taps, one per response."""
