"""The admin port: catalogue, decisions, refunds, reports, metrics and documents, all behind one key.

`app` puts it together; `auth` stands before everything; the other files are doors, one for each thing that
people come for. Nothing here decides: every rule lives further in.
"""
