"""What changes a server, and is therefore closed to all but those who have its key."""

import base64
import http.client
import json

# Methods of tritonclient, by either protocol, with arguments that do no harm.
CLOSED = {
    "get_model_repository_index": (),
    "load_model": ("asl",),
    "unload_model": ("asl",),
    "get_system_shared_memory_status": (),
    "register_system_shared_memory": ("region", "/region", 64),
    "unregister_system_shared_memory": (),
    "get_cuda_shared_memory_status": (),
    "register_cuda_shared_memory": ("region", b"AAAA", 0, 64),
    "unregister_cuda_shared_memory": (),
    "get_trace_settings": (),
    "update_trace_settings": ("asl", {"trace_level": ["OFF"]}),
    "get_log_settings": (),
    "update_log_settings": ({"log_verbose_level": 0},),
}
# The same and their variants as HTTP, as a page in a browser might send them.
CLOSED_HTTP = [
    ("POST", "/v2/repository/index"),
    ("GET", "/v2/repository/index"),
    ("POST", "/v2/repository/index?ready=true"),
    ("POST", "/v2/repository/models/asl/load"),
    ("POST", "/v2/repository/models/asl/unload"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/systemsharedmemory/region/r/status"),
    ("POST", "/v2/systemsharedmemory/region/r/register"),
    ("POST", "/v2/systemsharedmemory/region/r/unregister"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/r/register"),
    ("POST", "/v2/cudasharedmemory/unregister"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("GET", "/v2/models/asl/trace/setting"),
    ("POST", "/v2/models/asl/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
]
# Spellings that must not lead around it.
NO_ADDRESS = [
    ("POST", "//v2/repository/index"),
    ("POST", "/v2//repository/index"),
    ("POST", "/v2/repository/index/"),
    ("POST", "/v2/%72epository/index"),
    ("POST", "/v2/models/../repository/index"),
]


def code_to_run(proof) -> tuple[str, dict[str, bytes]]:
    """A model whose loading leaves a file: its config, and its files."""
    program = f"open({str(proof)!r}, 'w')\nclass TritonPythonModel:\n    pass\n"
    return '{"backend": "python"}', {"file:1/model.py": program.encode()}


def code_as_json(proof) -> str:
    config, files = code_to_run(proof)
    encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
    return json.dumps({"parameters": {"config": config, **encoded}})


def request(url: str, method: str, path: str, body="{}", headers=None):
    """Send HTTP; return status, headers and body of the answer."""
    connection = http.client.HTTPConnection(url, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()
