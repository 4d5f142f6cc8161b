"""Posts and tags can be changed at /NAME/admin/."""

from django.contrib import admin

from .models import Comment, Post, Tag


class Comments(admin.TabularInline):
    model = Comment
    extra = 1


@admin.register(Post)
class PostAdmin(admin.ModelAdmin):
    list_display = ["title", "published"]
    date_hierarchy = "published"
    search_fields = ["title", "text"]
    inlines = [Comments]


admin.site.register(Tag)
