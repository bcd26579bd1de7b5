"""The OpenRTB door's words: bytes -> BidRequest -> AdRequest, and Choice -> BidResponse -> bytes.

`decode` reads bytes into the structs of `wire` and refuses what is malformed; `mend` repairs odd types;
`read` makes the ad request, with `places` for names and `privacy` (and `tcf`) for what may be used of a
person; `write`, `native` and `macros` make the answer and read what the notices bring back.
"""
