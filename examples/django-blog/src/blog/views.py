"""Reading and writing."""

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import Count
from django.db.models.functions import TruncMonth
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render

from .models import Post, Tag


class PostForm(forms.Form):
    title = forms.CharField(max_length=200)
    text = forms.CharField(widget=forms.Textarea)
    tags = forms.CharField(required=False)


def index(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    posts = Post.objects.prefetch_related("tags").annotate(talk=Count("comments"))
    return render(request, "blog/index.html", {"posts": posts, "visits": request.session["visits"]})


def write(request):
    form = PostForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            post = Post.objects.create(title=form.cleaned_data["title"], text=form.cleaned_data["text"])
            post.tags.set(Tag.objects.get_or_create(name=name)[0] for name in form.cleaned_data["tags"].split())
        messages.success(request, f"{post.title} is out")
        return redirect("index")
    return render(request, "blog/write.html", {"form": form}, status=400 if form.errors else 200)


def show(request, number):
    post = get_object_or_404(Post, pk=number)
    return JsonResponse(
        {
            "title": post.title,
            "published": post.published,
            "comments": list(post.comments.values_list("text", flat=True)),
        }
    )


def months(request):
    found = Post.objects.order_by().annotate(month=TruncMonth("published")).values("month").annotate(posts=Count("id"))
    return JsonResponse({f"{row['month']:%Y-%m}": row["posts"] for row in found.order_by("month")})
