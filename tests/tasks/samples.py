"""A few rows of every published data set's columns, with sentences of our own."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
SYSTEM = "Think first, then answer."


def response(thought: str, solution: str) -> str:
    return (
        f"<|begin_of_thought|>\n\n{thought}\n\n<|end_of_thought|>\n\n"
        f"<|begin_of_solution|>\n\n{solution}\n\n<|end_of_solution|>"
    )


def talk(question: str, answer: str) -> Row:
    return {
        "system": SYSTEM,
        "conversations": [{"from": "user", "value": question}, {"from": "assistant", "value": answer}],
    }


def gpqa(question: str, right: str, *wrong: str) -> Row:
    options = {f"Incorrect Answer {number}": text for number, text in enumerate(wrong, 1)}
    return {
        "Record ID": f"rec{len(question)}",
        "Question": question,
        "Correct Answer": right,
        **options,
        "Subdomain": "x",
    }


def mmlu(number: int, question: str, options: list[str], answer: str) -> Row:
    return {
        "question_id": number,
        "question": question,
        "options": options,
        "answer": answer,
        "answer_index": "ABCDEFGHIJ".index(answer),
        "cot_content": "",
        "category": "mathematics",
        "src": "ours",
    }


def olympiad(number: int, question: str, answers: list[str] | None, **changes: Any) -> Row:
    row = {
        "id": number,
        "question": question,
        "solution": ["By counting."],
        "final_answer": answers,
        "is_multiple_answer": False,
        "unit": None,
        "answer_type": "Numerical",
        "error": None,
        "subfield": "Combinatorics",
        "language": "English",
    }
    return row | changes


def math500(number: int, problem: str, answer: str, level: int) -> Row:
    return {
        "problem": problem,
        "solution": f"It is \\boxed{{{answer}}}.",
        "answer": answer,
        "subject": "Algebra",
        "level": level,
        "unique_id": f"test/ours/{number}.json",
    }


SAMPLES: dict[str, list[Row]] = {
    "bespoke-stratos-17k": [
        talk(
            "A box holds 3 red and 4 blue pens. How many pens?",
            response("3 and 4 make 7.", r"There are \boxed{7} pens."),
        ),
        talk("Halve 5.", response("5 / 2, so 2.5.", r"Half of 5 is \boxed{\frac{5}{2}}.")),
        talk("Write a program that prints 7.", response("One line.", "```python\nprint(7)\n```")),
        talk("What is 2 + 2?", "I will not think. \\boxed{4}"),
    ],
    "stratos-reformatted": [
        {
            "question_content": "A box holds 3 red and 4 blue pens. How many pens?",
            "think_content": "3 and 4 make 7.\n\n",
            "solution_content": "\n\nThere are \\boxed{7} pens.\n\n",
        },
        {"question_content": "Halve 5.", "think_content": "2.5", "solution_content": "\\boxed{\\frac{5}{2}}"},
    ],
    "math500": [
        math500(1, "Solve 2x = 6 for x.", "3", 1),
        math500(2, "What are the roots of (x - 1)(x + 2)?", "1,-2", 2),
        math500(3, "Find the point where y = x and y = 2 - x meet.", "(1,1)", 2),
        math500(4, "What percentage is 3 of 4?", "75\\%", 5),
    ],
    "aime24": [
        {
            "id": 60,
            "problem": "How many days have the 17 weeks that Ada waits?",
            "solution": "17 times 7.",
            "answer": "119",
            "url": "none",
            "year": "2024",
        },
        {
            "id": 61,
            "problem": "Bob counts from 1 to 99 and leaves out 50. How many numbers does he say?",
            "solution": "One fewer than 99.",
            "answer": "098",
            "url": "none",
            "year": "2024",
        },
    ],
    "aime25": [{"problem": "Double 36 and add 1.", "answer": "73", "id": "0"}],
    "amc23": [
        {
            "id": 0,
            "question": "Cleo has 9 coins and gives away a third. How many are left?",
            "answer": 6.0,
            "url": "none",
        },
        {"id": 1, "question": "What is half of five?", "answer": 2.5, "url": "none"},
    ],
    "olympiadbench": [
        olympiad(1, "In how many ways can two people sit on three chairs?", ["$6$"]),
        olympiad(2, "Find all x with x^2 = 3x.", ["$0$", "$3$"], is_multiple_answer=True),
        olympiad(3, "Prove that 2 is even.", None, answer_type="Need_human_evaluate"),
        olympiad(4, "Which one is it?", ["$1$", "$2$"]),
    ],
    "gpqa-diamond": [
        gpqa("Which of these is lightest?", "hydrogen", "helium", "iron", "lead"),
        gpqa("Which of these is hottest?", "the Sun", "the Moon", "ice", "tea"),
    ],
    "mmlu-pro": [
        mmlu(1, "What is 3 times 4?", ["7", "12", "34"], "B"),
        mmlu(2, "Which number is largest?", [str(n) for n in range(10)], "J"),
    ],
}
