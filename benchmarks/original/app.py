"""The app of the image of 2022: one text, served by Flask's development server with its debugger."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    """Greet."""
    return "Hello, World!"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8080, debug=True)  # noqa: S104, S201 (as it was)
