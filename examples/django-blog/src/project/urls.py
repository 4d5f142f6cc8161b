"""The pages of a blog, and its admin."""

from blog import views
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", views.index, name="index"),
    path("write", views.write, name="write"),
    path("<int:number>", views.show, name="show"),
    path("months", views.months, name="months"),
]
