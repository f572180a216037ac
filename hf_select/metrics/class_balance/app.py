"""The Space of this metric: a page to try it on."""

import evaluate

if __name__ == "__main__":
    evaluate.utils.launch_gradio_widget(evaluate.load("class_balance.py"))
