"""The OpenRTB door's words: bytes -> BidRequest -> AdRequest, and Choice -> BidResponse -> bytes.

`wire` reads bytes into structs and refuses what is malformed, `mend` repairs odd types, `read` makes the
ad request, `privacy` judges what may be used of a person, `write` and `native` make the answer.
"""
