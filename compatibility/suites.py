from compatibility.document import Section
def run(only): return Section("suites", "")
