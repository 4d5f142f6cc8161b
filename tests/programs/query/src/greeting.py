def greet(name):
    return f"Hello there, {name}"
