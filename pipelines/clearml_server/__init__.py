"""An embedded server that speaks ClearML's API, for everybody without an account.

`python -m pipelines.clearml_server` serves, on one port, the API, the file server and
a page. It starts in a fraction of a second; all it keeps lies in one folder. README.md
beside this file says what it answers and what it does not.

How a request flows:

- ``web``         sockets, paths, headers; hands API calls to ``calls``
- ``connections``  how long each may take, and which gives way
- ``calls``       the table of endpoints, one transaction a call, answers and errors
- ``auth``        keys and signed tokens
- ``schemas``     what requests may contain; ``sdk_schemas`` reads the SDK's part of it
- ``services``    what each endpoint does: tasks, models, projects, queues, events, ...
- ``query``       the query language of the ``get_all`` endpoints, translated to SQL
- ``list_filters``  its filters on tags and other lists
- ``patterns``    regular expressions in it, in bounded time
- ``projection``  which parts of records an answer has
- ``documents``   reading and writing one record
- ``storage``     the SQLite file: schema, transactions
- ``files``       uploads and downloads
- ``home``        the folder: lock, keys, the SDK's configuration file
- ``view``        who may see the page, and logging in; its files are in ``page``
- ``client``      what other processes of the same user ask of it
- ``leases``      ends a server that was started for processes which are gone
"""
