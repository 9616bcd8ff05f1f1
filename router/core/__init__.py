"""What decides, prices and parses: functions of values. No I/O, no clock, no globals; the standard library and one JSON library."""
